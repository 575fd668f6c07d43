"""`policy.network`: what may ask the network for names, and that nothing else does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostup_mcp.config.loading import load
from hostup_mcp.policy.describe import SUMMARY_MAX_CHARACTERS, full, summary
from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.models import Getopt, Shapes
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.preset import preset_data
from hostup_mcp.policy.shell.emit import SEARCHED
from hostup_mcp.suggestions.nearest import nearest
from tests.conftest import missing


def policies(**data: object) -> Policies:
    return Policies(PolicyData.model_validate(data))


DEFAULT = policies().default
STRICT = policies(preset="diagnostics-strict").default
QUIET = policies(network="none").default
OPEN = policies(preset="diagnostics-strict", network="lookups").default


def outcome(policy: Policy, command: str) -> str:
    decided = policy.judge(command)
    return decided.code if isinstance(decided, Refusal) else "allow"


LOOKS_UP = """
getent hosts a.example
getent -- hosts a.example
getent ahosts a.example
getent ahostsv4 a.example
getent ahostsv6 a.example
getent networks a.example
arp
arp -a
arp -e
arp -n a.example
arp 192.0.2.7
netstat
netstat -tlp
netstat -a
netstat -r
netstat -W
route
route -e
route -4
ss -r
ss -nr
ss -tnr
ss -tn dst bad.cafe
ss -tn bad.cafe
ss -tn src '[bad.cafe]'
ss -tn '( src bad.cafe )'
ss -tn src eq ssh
ss -tn dst established
ss -tn 'state established dst 1.1'
last -d
last -ad -n 3
hostname -f
hostname -d
hostname -i
hostname -A
hostname --fqdn
hostname -sf
lsof -i
lsof -b
lsof -n -i@b.example
lsof -n -i @b.example
lsof -nPitcp@c.example:80
lsof -i4 /tmp -n
apachectl -t
apachectl -S
apachectl configtest
""".strip().splitlines()
"""Each was seen to ask a name server."""

COUNTED = """
w
w -h
ss
ss -tlp
ss -s -t
lsof +L1
lsof /var/log/messages
lsof /tmp -n
ss -tn dst 1.1 state established
nginx -t
nginx -T
chronyc sources
chronyc tracking
timedatectl timesync-status
last -i
last -ai -n 5
iptables -L
iptables -L -v
ip6tables -L INPUT
""".strip().splitlines()
"""These depend on the program's version, its configuration or what it finds."""

KEEPS_QUIET = """
getent passwd root
getent group adm
getent services 80
getent protocols tcp
getent rpc nfs
arp -n
arp -an
arp -n 192.0.2.7
netstat -tlnp
netstat -an
netstat -rn
netstat -s
netstat -i
route -n
ss -tulpn
ss -s
ss -an
ss -tn state established '( dport = :443 or sport = :22 )'
ss -tn dst 192.0.2.1
ss -tn dst 192.0.2.0/24:8080
ss -tn dst '[::1]:80'
ss -tn sport = :ssh
w -i
last
last -a
hostname
hostname -I
hostname -s
lsof -n -i
lsof -nP -iTCP -sTCP:LISTEN
lsof -n -i@192.0.2.1
lsof -n -i :80
lsof -n '-i@[::1]:80'
lsof -n +L1
ip route
ip neigh
ip route show to 192.0.2.0
ifconfig
ps aux
who -a
id root
""".strip().splitlines()


@pytest.mark.parametrize("command", LOOKS_UP + COUNTED)
def test_lookups_are_refused_where_nothing_may_be_asked(command: str) -> None:
    assert outcome(DEFAULT, command) == outcome(QUIET, "df") == "allow"
    refusal = QUIET.judge(command)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "network_refused"
    assert 'policy.network is "none"' in refusal.message
    assert "policy.network" in refusal.who_can_change_it
    found = nearest(QUIET, command, refusal)
    assert all(isinstance(QUIET.judge(near), ApprovedCommand) for near in found)
    assert outcome(STRICT, command) in {"network_refused", "not_read_only"}
    assert outcome(OPEN, command) in {"allow", "not_read_only"}


@pytest.mark.parametrize("command", KEEPS_QUIET)
def test_what_asks_nobody_stays_allowed(command: str) -> None:
    assert [outcome(policy, command) for policy in (DEFAULT, QUIET)] == ["allow"] * 2
    # ss loads modules of the kernel's, whatever it asks.
    strict = "not_read_only" if command.startswith("ss ") else "allow"
    assert outcome(STRICT, command) == strict


@pytest.mark.parametrize(
    ("command", "near"),
    [("arp", "arp -n"), ("netstat -tlp", "netstat -n -tlp"), ("ss -tlp", "ss -n -tlp"),
     ("w", "w -i"), ("lsof -i :80", "lsof -n -i :80"), ("lsof /tmp -n", "lsof -n /tmp"),
     ("chronyc sources", "chronyc -n sources"), ("iptables -L", "iptables -n -L")],
)  # fmt: skip
def test_the_quiet_form_is_offered(command: str, near: str) -> None:
    refusal = QUIET.judge(command)
    assert isinstance(refusal, Refusal)
    assert nearest(QUIET, command, refusal)[0] == near


@pytest.mark.parametrize("command", ["getent hosts x.example", "getent ahosts x.example"])
def test_no_other_question_is_offered(command: str) -> None:
    refusal = QUIET.judge(command)
    assert isinstance(refusal, Refusal)
    assert nearest(QUIET, command, refusal) == ()


def test_every_rule_names_what_its_program_has() -> None:
    for name, command in preset_data().command.items():
        rule = command.lookups
        if rule is None:
            continue
        assert isinstance(command, Getopt | Shapes), name
        if isinstance(command, Getopt):
            words = {*command.bare, *command.options, *command.first.strip("/").split("|")}
        else:
            words = {word for shape in command.shapes for word in shape}
        assert {*rule.when, *rule.unless, *rule.alone, *rule.always} <= words, name


# ------------------------------------------------------------------ hosts' folders


@pytest.mark.parametrize(
    "path",
    ["/net/a.example", "/net/a.example/x", "/./net//a.example", "/n*/a.example", "/?et/a.example",
     "/*/a.example", "/afs/a.example", "/smb/host/share", "/cifs/host",
     "/proc/1/root/net/a.example", "/proc/self/cwd/net/a.example", "/p*/self/ro?t/net/a.example",
     "/proc/1/task/1/root/afs/a"],
)  # fmt: skip
def test_no_host_can_be_named_by_a_path(path: str) -> None:
    for program in ("ls -la", "stat", "find", "du -s", "df", "realpath", "tree", "findmnt -T"):
        codes = {outcome(policy, f"{program} {path}") for policy in (DEFAULT, STRICT)}
        assert codes <= {"path_on_demand", "glob_refused"}


@pytest.mark.parametrize(
    "path", ["/net", "/net/", "/net/*", "/*", "/var/net/x", "/proc/net/tcp", "/proc/1/net/tcp",
             "/home/*/www", "/sys/class/net/lo", "/netto/x"]
)  # fmt: skip
def test_other_folders_may_be_looked_at(path: str) -> None:
    assert outcome(DEFAULT, f"ls {path}") == "allow"


# ------------------------------------------------------------------ the key


def test_a_vps_inherits_the_key_or_has_its_own() -> None:
    made = policies(
        network="none",
        vps=[
            {"vps": "same", "preset": "diagnostics"},
            {"vps": "own", "network": "lookups"},
            {"vps": "apart", "preset": "diagnostics", "inherit": False},
            {"vps": "strict", "preset": "diagnostics-strict", "inherit": False},
        ],
    )
    assert [policy.preset.network for _, policy in made.special] == [
        "none", "lookups", "lookups", "none",
    ]  # fmt: skip
    assert made.default.preset.network == "none"
    assert len({policy.label for _, policy in made.special}) == 3
    assert "Network" in full(made)


def test_a_rule_of_the_operators_decides_for_itself() -> None:
    rules = [{"argv": ["getent", "hosts", "@host"], "reason": "on call"}]
    assert (
        outcome(policies(network="none", rules=rules).default, "getent hosts a.example") == "allow"
    )


def test_the_environment_sets_it() -> None:
    settings = load({}, {"HOSTUP_MCP__POLICY__NETWORK": "none"}, None)
    assert Policies(settings.policy).default.preset.network == "none"


def test_it_is_told() -> None:
    for made, sentence in (
        (policies(), "Names may be looked up in the network"),
        (policies(preset="diagnostics-strict"), "Nothing may be sent and no name looked up"),
        (policies(network="none"), "Nothing may be sent and no name looked up"),
    ):
        assert summary(made).count(sentence) == 1
        assert sentence in full(made)
        assert len(summary(made)) < SUMMARY_MAX_CHARACTERS
    assert "looked up" not in summary(policies(preset="none"))
    assert "(needs -n; addresses, no names)" in full(policies(network="none"))
    other = policies(vps=[{"vps": "a", "network": "none"}, {"vps": "b", "network": "lookups"}])
    assert summary(other).count("no name looked up") == 1


# ------------------------------------------------------------------ the programs themselves


def observed(lines: list[str], folder: Path) -> dict[str, dict[str, list[str]]]:
    """What each line asks and sends, seen from namespaces of its own."""
    inside = Path(__file__).with_name("lookups_inside.py")
    ran = subprocess.run(
        ["unshare", "-n", "-m", "-u", "--propagation", "private", sys.executable, str(inside),
         str(folder)],
        input="\n".join(lines), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if ran.returncode:
        missing("strace, or the right to make namespaces")
    return dict(zip(lines, map(json.loads, ran.stdout.splitlines()), strict=True))


def installed(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if shutil.which(line.split()[0], path=":".join(SEARCHED))]


def test_what_is_refused_asks_and_what_is_allowed_does_not(tmp_path: Path) -> None:
    loud, quiet = installed(LOOKS_UP), installed(KEEPS_QUIET)
    examples = [
        example
        for entry in preset_data().command.values()
        for example in entry.examples
        if not entry.builtin and outcome(STRICT, example) == "allow"
    ]
    quiet += [example for example in installed(examples) if example not in quiet]
    found = observed([*loud, *quiet], tmp_path)
    assert not [line for line in loud if not found[line]["asked"]]
    assert not {line: found[line] for line in quiet if found[line]["asked"] or found[line]["sent"]}
    if len(loud) + len(quiet) < 150:
        missing("a program that looks names up")
