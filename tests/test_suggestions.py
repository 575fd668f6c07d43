"""What is offered in place of a refused command: never more than was asked, never at random."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine
from hostup_mcp.suggestions.nearest import nearest
from hostup_mcp.suggestions.substitutes import substitutes
from tests.runner_harness import POLICY

OPEN = Policies(PolicyData(preset="unrestricted")).default
RULES = [
    {"argv": ["systemctl", "restart", "@unit"], "match": ["systemctl restart nginx"]},
    {"argv": ["rm", "-rf", "@meta"]},
    {"argv": ["dd", "@text"]},
    {"argv": ["reboot"], "match": ["reboot"]},
    {"argv": ["/opt/app/deploy", "@int"], "match": ["/opt/app/deploy 1", "/opt/app/deploy 22"]},
]
OWN = Policies(
    PolicyData.model_validate({"rules": [{"reason": "on call", **rule} for rule in RULES]})
).default


def offered(policy: Policy, command: str) -> tuple[str, ...]:
    refusal = policy.judge(command)
    assert isinstance(refusal, Refusal), refusal
    return nearest(policy, command, refusal)


# Guards, loops, variables, other hosts and other users: without them it is another command.
HARMFUL = (
    r"""
rm -rf $DIR/*
rm -rf "/srv/tmp/$NAME"
dd of=$DISK
! systemctl is-active nginx && systemctl restart nginx
if ! test -f /x; then rm -rf /y; fi
while sleep 1; do reboot; done
test -f /x && systemctl restart nginx
[ -f /x ] && systemctl restart nginx
[ ! -f /x ] && rm -rf /y
export A=1; rm -rf /y
cd /srv; rm -rf /y
cd /srv && reboot
(reboot)
reboot > /tmp/x || rm -rf /y
echo $(reboot)
ssh db1 systemctl restart mysql
ssh db1 reboot
docker exec web sh -c 'reboot'
kubectl exec pod -- reboot
chroot /mnt systemctl restart nginx
su -c reboot
sudo -u www-data /opt/app/deploy 1
sudo -i reboot
env HOME=/x reboot
HOME=/x reboot
man reboot
which reboot
command -v reboot
xargs reboot
sh -c 'echo x; reboot'
sh -c reboot 1
find / -exec reboot \;
rm -rf {/a,/b}
rm -rf ~
rm ¬rf /y
rm -rf “/y z”
rm -rf "/y
tail -f /var/log/syslog && reboot
tail -f /var/log/syslog | reboot
""".replace("¬", "\u2013")
    .strip()
    .splitlines()
)
NEVER = re.compile(r"(^|[|&;] )(systemctl restart|rm|dd|reboot|/opt/app/deploy)\b")


@pytest.mark.parametrize("command", HARMFUL)
def test_nothing_is_offered_that_does_more_than_was_asked(command: str) -> None:
    for policy in (OPEN, OWN):
        refusal = policy.judge(command)
        for near in nearest(policy, command, refusal) if isinstance(refusal, Refusal) else ():
            assert not NEVER.search(near), near


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        # Of a program of an own rule, the rule's examples.
        ("sudo systemctl restart nginx", "systemctl restart nginx"),
        ("systemctl restart nginx > /tmp/x", "systemctl restart nginx"),
        ("/opt/app/deploy x", "/opt/app/deploy 1"),
        ("/opt/app/deploy 2x", "/opt/app/deploy 22"),
        # What is left as it was asked stays; the other part is mended.
        (
            "systemctl restart nginx; tail -f /var/log/syslog",
            "systemctl restart nginx; tail -n 50 /var/log/syslog",
        ),
        ('"reboot"', "reboot"),
    ],
)
def test_own_rules_are_offered_as_their_examples_have_it(command: str, expected: str) -> None:
    assert offered(OWN, command)[0] == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('"rm" -rf /srv/x', ("rm -rf /srv/x",)),
        (r"r\m x", ("rm x",)),
        ("grep $5 /var/log/syslog", ("grep '$5' /var/log/syslog",)),
        ("find / -name *.log", ("find / -name '*.log'",)),
        ("tail -f $HOME", ()),
        ("sh -c 'df' &", ()),
        ("df > /tmp/x", ()),
        ("df # x", ()),
    ],
)
def test_under_unrestricted_only_the_quotes_change(command: str, expected: tuple[str]) -> None:
    assert offered(OPEN, command) == expected


# What is offered first, after =>; nothing at all where nothing follows. ¬ is a dash beyond ASCII.
TABLE = r"""
[ -f /etc/hosts ] => stat /etc/hosts
[ -f /x ] && ls / => stat /x && ls /
[ ! -f /x ] && ls / =>
test -d /var/log => stat /var/log
test ! -f /x =>
find /var/log -name x -exec ls -lh {} \; => find /var/log -name x -ls
find /var/log -name x -exec cat {} + => find /var/log -name x
cd /var/log && ls -la => ls -la /var/log
cd /var/log && tail -n 20 syslog => tail -n 20 /var/log/syslog
cd /var/log && tail -f syslog | grep x => tail -n 50 /var/log/syslog | grep x
cd /var/log; find . -name x => find /var/log -name x
cd /etc && cat ../etc/hosts => cat /etc/hosts
cd /etc && ls nginx/*.conf => ls /etc/nginx/*.conf
cd /etc || ls =>
cd /etc && cd nginx && ls =>
for i in 1 2 3; do echo $i; done =>
tail -n 100 -f /var/log/syslog => tail -n 100 /var/log/syslog
tail -fn 100 /var/log/syslog => tail -n 100 /var/log/syslog
tail -n $N /var/log/syslog =>
docker logs -n 9 -f web => docker logs -n 9 web
cat /etc/shadow | grep root => ls -l /etc/shadow
tail -F /var/log/syslog | grep e => tail -n 50 /var/log/syslog | grep e
grep "a =>
grep x < /var/log/syslog => grep x /var/log/syslog
tr a b < /etc/hosts => cat /etc/hosts | tr a b
docker exec -it web bash => docker logs --tail 50 web
docker exec -u app web ls => docker logs --tail 50 web
docker stop -t 10 web => docker logs --tail 50 web
docker compose ps => docker ps -a
docker inspect db => docker inspect --format '{{.State.Status}}' db
docker stats => docker stats --no-stream
docker -H tcp://db ps =>
systemctl -H db1 status nginx =>
printf 'é' => printf '\303\251'
printf 'é\n' => printf '\303\251\n'
echo é => printf '\303\251\n'
echo é | wc -c => printf '\303\251\n' | wc -c
printf "%s\n" a => echo a
printf '%s-%d\n' a 5 b 6 => printf '\141-5\nb-6\n'
printf abc => printf '\141bc'
printf '%x' 5 =>
grep 'é' /var/log/syslog =>
ls -la ¬color => ls -la --color=auto
ls ¬la => ls -la
ss ¬tulpn => ss -tulpn
tee x =>
ssh x =>
sl /etc => ls /etc
dff -h => df -h
DF -h => df -h
cta /etc/hosts => cat /etc/hosts
ls /var/log/{syslog,messages} => ls /var/log/syslog /var/log/messages
cat /etc/nginx/conf.d/* => cat /etc/nginx/conf.d/*.conf
cat /etc/apt/sources.list.d/* => ls -l /etc/apt/sources.list.d
cat /etc/fail2ban/jail.d/* => cat /etc/fail2ban/jail.d/*.conf
grep -r x /etc/nginx => grep x /etc/nginx/conf.d/*.conf
cat /proc/*/environ =>
cat ${HOME}/.bashrc => ls -l /root/.bashrc
ls $HOME => ls /root
command -v nginx => ls -l /usr/bin/nginx
which nginx => ls -l /usr/bin/nginx
strings /var/log/wtmp => cat -v /var/log/wtmp
sar -u => vmstat 1 3
/etc/init.d/nginx status => systemctl status nginx
supervisorctl status => systemctl status supervisor
time -p df => df
sudo -E df => df
sudo -u root df => df
sudo -u www df =>
env LANG=C df => df
nice -n5 timeout -k 5 9 df => df
watch -n1 'df | sort' => df | sort
watch df -h => df -h
uptime | sudo bash -lc 'sort | uniq' => uptime | sort | uniq
uptime | bash -c 'sort; df' =>
apt-get install -y nginx => apt show nginx
ls -laz => ls -la
df -h; reboot => df -h
df -h && reboot =>
echo a; reboot =>
cat /etc/shadow | sort /root/x; df => ls -l /etc/shadow; df
df && cat /etc/shadow | sort =>
df &⏎ls => df; ls
df |⏎ sort => df | sort
ls # a⏎df =>
date -r /etc/hosts =>
ps aux | sort --bogus => ps aux | sort
LC_ALL=C df -h => df -h
sudo tail -f /var/log/syslog => tail -n 50 /var/log/syslog
"""
ROWS = TABLE.replace("¬", "\u2013").strip().splitlines()


@pytest.mark.parametrize("row", ROWS)
def test_the_closest_comes_first(row: str) -> None:
    command, _, expected = row.replace("⏎", "\n").partition(" =>")
    assert offered(POLICY, command)[:1] == ((expected.strip(),) if expected else ())


WORDS = re.findall(r"\S+", " ".join([*HARMFUL, *(row.partition(" =>")[0] for row in ROWS)]))
DATA = preset_data()
GIVEN = {
    form.split()[0]
    for forms in (
        *substitutes().equivalents.values(),
        *(command.examples for command in DATA.command.values()),
    )
    for form in forms
} | {example.split()[0] for rule in RULES for example in rule.get("match", [])}


def programs(command: str) -> Iterator[str]:
    line = parse(command)
    assert isinstance(line, CommandLine)
    return (stage.argv[0] for stage in line.stages)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), st.sampled_from([POLICY, OWN]))
def test_what_is_offered_is_allowed_and_comes_from_somewhere(
    words: list[str], policy: Policy
) -> None:
    command = " ".join(words)
    refusal = policy.judge(command)
    if isinstance(refusal, ApprovedCommand):
        return
    found = nearest(policy, command, refusal)
    assert len(found) <= 3
    for near in found:
        assert isinstance(policy.judge(near), ApprovedCommand), near
        for program in programs(near):
            typed = difflib.get_close_matches(program, [w.lower() for w in words], cutoff=0.5)
            assert program in GIVEN or program in command or typed, near


@pytest.mark.parametrize(
    "command",
    [
        ("cat /*" + "a*" * 24 + "; ") * 15 + "cat /",
        "; ".join(["cat /" + "*a" * 118] * 4),
        "; ".join(["grep -r x /etc/nginx/*"] * 16),
        "; ".join(f"grep -r x{i} /etc/nginx/*" for i in range(16)),
        "; ".join(f"tail -f /var/log/{i}" for i in range(16)),
        "ls " + " ".join(f"--bad{i}" for i in range(60)),
        "find / " + "-exec ls {} + " * 30,
        "sh -c '" * 40 + "df",
        "echo " + "$A" * 300,
        "df\n" * 200,
        "(" * 400 + ")" * 400,
        "'\"" * 400,
    ],
)
def test_a_refusal_takes_a_bounded_number_of_steps(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0
    check = Preset.check

    def counted(self: Preset, words: list[object]) -> object:
        nonlocal looked_at
        looked_at += 1
        return check(self, words)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Preset, "check", counted)
    assert isinstance(POLICY.judge(command), Refusal)
    # All stages once for the verdict and once more, the rewrites, and each line that is offered.
    assert looked_at <= 20 + 16 * 5
