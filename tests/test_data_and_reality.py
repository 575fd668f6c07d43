"""The preset's data against the programs themselves: their options exist, and they only read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from hostup_mcp.policy.judge import ApprovedCommand
from hostup_mcp.policy.models import (
    Awk,
    Command,
    Find,
    Getopt,
    Ip,
    OptionSet,
    Ps,
    Sed,
    Shapes,
    Subcommands,
)  # fmt: skip
from hostup_mcp.policy.preset import preset_data, program_name
from hostup_mcp.policy.values.path_patterns import PathPattern
from tests.conftest import missing
from tests.runner_harness import POLICY

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
COMMANDS = {name: entry for name, entry in preset_data().command.items() if not entry.builtin}

ELSEWHERE = frozenset(
    """
    apk snap nginx apachectl apache2ctl php node docker fail2ban-client chronyc mdadm smartctl pvs
    vgs lvs ufw resolvectl rpm
    """.split()
)
"""Not on every Debian, or with a service of its own; looked at where they are."""

# ---------------------------------------------------------------- options

HELP = {
    "ps": ("ps --help all",),
    "lsof": ("lsof -h",),
    "ip": ("ip -h",),
    "iptables": ("iptables -h",),
    "ip6tables": ("ip6tables -h",),
    "hostname": ("hostname -h",),
    "pidof": ("pidof -h",),
    "nginx": ("nginx -h",),
    "apachectl": ("apachectl -h", "apachectl help"),
    "apache2ctl": ("apache2ctl -h", "apache2ctl help"),
    "chronyc": ("chronyc --help", "chronyc help"),
    "mdadm": ("mdadm --help-options", "mdadm --assemble --help"),
    "top": ("top -h",),
    "docker": tuple(
        f"docker {name} --help".replace("  ", " ")
        for name in ("", "ps", "images", "logs", "stats", "inspect", "system df", "container ls")
    ),
}
"""Where it is not `PROGRAM --help`."""

NO_PACKAGES = (
    "-o Dir::State::status=/dev/null -o Dir::State::Lists=/nonexistent "
    "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
)
"""So apt reads nothing and writes no cache."""

UNLISTED = {
    "df": ("df -m /",),  # an older name of -BM
    "route": ("route -n -ee",),
    "systemctl": ("systemctl --no-legend --version",),  # in the help as --legend=no
    "journalctl": ("journalctl --full -l --version",),  # what is the case anyway
    "mawk": ("mawk -F , 1",),  # its help is one line
    "awk": ("awk -F , 1",),  # which may be mawk
    "find": ("find / -maxdepth 0 -ipath x -newermt 2024-01-01",),
    "rpm": ("rpm -q -R --version",),
    "nginx": ("nginx -qt -h",),  # two flags in one word; with -h nothing is tested
    # Long names, and short names of objects.
    "ip": (
        "ip -brief link", "ip -color=never link", "ip -c=never link", "ip -details -json link",
        "ip -oneline -pretty -statistics -stats a", "ip l", "ip n", "ip r", "ip addr", "ip neigh",
        "ip maddr",
    ),
    # A script that hands them to grep.
    "zgrep": ("zgrep -A 1 -B 1 -C 1 -m 1 -E -F -H -c -h -i -l -n -o -v -w x /dev/null",),
    # Their help has the commands only.
    "apt": (
        f"apt {NO_PACKAGES} list -a --all-versions --installed --manual-installed -q -qq x",
        f"apt {NO_PACKAGES} list --upgradable --upgradeable x", f"apt {NO_PACKAGES} policy x",
        f"apt {NO_PACKAGES} search -n --names-only x", f"apt {NO_PACKAGES} depends x",
        f"apt {NO_PACKAGES} rdepends x",
    ),
    "apt-cache": (
        f"apt-cache {NO_PACKAGES} -q -n --names-only search x", f"apt-cache {NO_PACKAGES} stats",
        f"apt-cache {NO_PACKAGES} --installed depends x",
    ),
}  # fmt: skip
"""Command lines with what exists and is not in a program's help: each is run and not rejected."""

REJECTED = re.compile(
    r"invalid option|unrecognized option|unknown (gnu |long )*option|not understood|is unknown"
    r"|unknown predicate|not an option|Invalid operation|unknown option",
    re.IGNORECASE,
)
REFUSED_BY_ALL = "--no-such-option"

TAKES_NOTHING = {
    "du": {"--time"},  # --time and --time=WORD
    "ls": {"-p"},  # -p, --indicator-style=slash
    "sort": {"-c", "-C"},  # -c, --check, --check=diagnose-first
    "diff": {"-u"},  # -u, -U NUM
    "lsof": {"-a"},  # -a AND selections
}
"""Flags that stand in the help in one line with an option that takes a value."""

_NAME = r"--?[\w?@%+-]+"
_LINE = re.compile(rf"\s*({_NAME}(?:(?:, ?| ?\| ?| )--?[\w?-]+)*)(=| ?<| [A-Z]\w*(?=[\s,]|$))?")


@cache
def said(command: str) -> str:
    environment = {"PATH": PATH, "LC_ALL": "C", "HOME": "/nonexistent", "PAGER": "cat"}
    ran = subprocess.run(
        command.split(), env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    return (ran.stdout + ran.stderr).decode("utf-8", "replace")


def help_of(name: str) -> str:
    return "\n".join(said(command) for command in HELP.get(name, (f"{name} --help",)))


def options_of(spec: OptionSet) -> set[str]:
    with_value = {*spec.options, *spec.attached, *spec.following}
    return with_value | {*spec.flags, *spec.mode, *spec.recursive, *spec.one_of, *spec.all_of}


def named_by(entry: Command) -> set[str]:
    """Every option that an entry lets through, and every subcommand."""
    found: set[str] = set()
    match entry:
        case Subcommands():
            names = [word for name in entry.subcommand for word in name.split()]
            own = [options_of(spec) for spec in entry.subcommand.values()]
            found = {*entry.flags, *entry.options, *names}.union(*own)
        case Shapes():
            firsts = {shape[0] for shape in entry.shapes if shape}
            found = firsts | {word for shape in entry.shapes for word in shape if word[0] == "-"}
        case Find():
            found = {*entry.tests, *entry.values}
        case Ip():
            found = {*entry.globals, *entry.objects}
        case Ps():
            found = {*entry.clusters, *entry.out, *entry.aux, *entry.plain, *entry.select}
            found |= {*entry.modifiers}
        case Awk():
            found = {*entry.options}
        case Sed():
            found = {*entry.flags}
        case Getopt():
            found = options_of(entry)
        case _:
            pass
    return found


def unlisted(name: str) -> tuple[str, ...]:
    if name == "awk" and "-F" in in_help(help_of(name)):
        return ()  # it is not mawk
    if name != "ps":
        return UNLISTED.get(name, ())
    # Its help has the single letters.
    entry = COMMANDS["ps"]
    assert isinstance(entry, Ps)
    alone = (*entry.clusters, *entry.aux, *entry.plain)
    return (*(f"ps {word}" for word in alone), *(f"ps {word} pid" for word in entry.out))


def in_help(text: str) -> set[str]:
    words = {*re.findall(r"(?<![\w-])-{0,2}[A-Za-z0-9?%@][\w-]*", text), *re.findall("[!()]", text)}
    clusters = re.findall(r"\[-([A-Za-z0-9?]+)\]", text)
    return words | {f"-{letter}" for cluster in clusters for letter in cluster}


def installed(name: str) -> bool:
    return shutil.which(name, path=PATH) is not None


def require(name: str) -> None:
    if not installed(name):
        missing(name)


def on_this_machine() -> list[str]:
    return [name for name in COMMANDS if name not in ELSEWHERE or installed(name)]


@pytest.mark.parametrize("name", on_this_machine())
def test_every_option_exists(name: str) -> None:
    require(name)
    listed = in_help(help_of(name))
    wanted = named_by(COMMANDS[name])
    lines = unlisted(name)
    tried = {word for line in lines for word in (*line.split(), *in_help(line))}
    assert not wanted - listed - tried
    for line in lines:
        assert wanted & {*line.split()} - listed or name in {"ps", "zgrep", "awk"}, (
            f"needless: {line}"
        )
        assert not REJECTED.search(said(line)), line
    if lines:
        rest = lines[0].removeprefix(name)
        assert REJECTED.search(said(f"{name} {REFUSED_BY_ALL}{rest}")), "all would be accepted"


@pytest.mark.parametrize("name", [n for n in on_this_machine() if isinstance(COMMANDS[n], Getopt)])
def test_no_flag_takes_a_value(name: str) -> None:
    """A flag that took one would hide the next word from the policy."""
    require(name)
    entry = COMMANDS[name]
    assert isinstance(entry, Getopt)
    if name in {"dpkg", "dpkg-query", "iptables", "ip6tables"}:
        # Flags that say what to do stand in the help with the operands.
        assert entry.mode or entry.one_of
        return
    for found in filter(None, map(_LINE.match, help_of(name).splitlines())):
        options = {*re.findall(_NAME, found[1])} & {*entry.flags, *entry.recursive}
        assert not found[2] or not options - TAKES_NOTHING.get(name, set()), found[0]


def test_nearly_all_programs_and_options_are_looked_at() -> None:
    there = [name for name in on_this_machine() if installed(name)]
    if len(there) < len([*filter(lambda name: name not in ELSEWHERE, COMMANDS)]):
        missing("one of the programs that are looked at")
    assert len(there) >= 85
    assert sum(len(named_by(COMMANDS[name])) for name in there) >= 1100
    listed = sum(len(named_by(COMMANDS[name]) & in_help(help_of(name))) for name in there)
    assert listed >= 1050
    assert COMMANDS.keys() >= ELSEWHERE


# ---------------------------------------------------------------- what the benign lines do

DISK = "reads every folder of the disk"
LEFT_OUT = {
    "find / -xdev -type f -size +500M -printf '%s %p\\n' 2>/dev/null | sort -rn | head -n 20": DISK,
    "find / -xdev -type f -size +1G": DISK,
    "du -xh -d 1 /": DISK,
    "du -h --max-depth=1 /var | sort -hr | head -20": DISK,
    "getent hosts example.com": "asks a name server",
    "hostname -f": "may ask a name server",
    "lsof -i :80": "may ask a name server",
}

HELPERS = {
    "dpkg": {"dpkg-query"},
    "zcat": {"gzip"},
    "zgrep": {"gzip", "grep", "sed", "expr", "cat", "mktemp", "rm"},
    "egrep": {"grep"},
    "fgrep": {"grep"},
}
"""Programs of the same package that a program is made of."""

TRACED = """
execve execveat open openat openat2 creat unlink unlinkat rename renameat renameat2 mkdir mkdirat
rmdir truncate ftruncate chmod fchmod fchmodat chown fchown lchown fchownat symlink symlinkat
link linkat mknod mknodat mount umount2 setxattr lsetxattr fsetxattr removexattr utimensat utimes
kill tkill tgkill connect init_module finit_module delete_module reboot sethostname settimeofday
clock_settime swapon swapoff ptrace
""".split()

_CALL = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE|APPEND)")
_NOWHERE = frozenset({"/dev/null", "/dev/tty"})


def strace(script: str, log: Path) -> str:
    """What a shell and all that it starts ask of the kernel."""
    argv = ("strace", "-f", "-qq", "--seccomp-bpf", "-s", "200", "-e", "signal=none")
    subprocess.run(
        [*argv, "-e", f"trace={','.join(TRACED)}", "-o", str(log), "sh", "-c", script],
        env={"PATH": PATH, "HOME": str(log.parent)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return log.read_text(errors="replace") if log.exists() else ""


def changes(trace: str, programs: set[str]) -> list[str]:
    """The calls that could change something, or start another program than these."""
    found: list[str] = []
    for name, rest in _CALL.findall(trace):
        strings = _STRING.findall(rest)
        path = strings[0] if strings else ""
        match name:
            case "execve":
                harmless = Path(path).name in programs
            case "open" | "openat" | "openat2":
                harmless = path in _NOWHERE or not _WRITES.search(rest)
            case "connect":
                # A socket of this machine's, as of the name service; nothing is asked of others.
                harmless = "AF_UNIX" in rest or "AF_NETLINK" in rest
            case "kill":
                harmless = ", 0)" in rest
            case _:
                harmless = False
        if not harmless:
            found.append(f"{name}({rest}")
    return found


def lines_that_only_read() -> list[tuple[ApprovedCommand, set[str]]]:
    """Benign lines and examples whose programs are here and are said to do nothing else."""
    corpus = Path(__file__).parent / "corpus" / "benign.jsonl"
    texts = [json.loads(line)["command"] for line in corpus.read_text().splitlines()]
    texts += [example for entry in COMMANDS.values() for example in entry.examples]
    found: list[tuple[ApprovedCommand, set[str]]] = []
    for text in sorted({*texts} - LEFT_OUT.keys()):
        approved = POLICY.judge(text)
        assert isinstance(approved, ApprovedCommand), text
        names = {program_name(stage.words[0].text) for stage in approved.stages}
        entries = [preset_data().command[name] for name in names]
        reads = all(entry.read_only and not entry.effects for entry in entries)
        if reads and all(installed(name) for name in names & COMMANDS.keys()):
            found.append((approved, names.union(*(HELPERS.get(name, set()) for name in names))))
    return found


@pytest.fixture
def tracing(tmp_path: Path) -> Path:
    if not installed("strace") or "execve" not in strace("true", tmp_path / "first"):
        missing("strace, or the right to trace")
    return tmp_path


def test_benign_lines_change_nothing_and_start_nothing_else(tracing: Path) -> None:
    lines = lines_that_only_read()

    def run(number: int) -> list[str]:
        approved, names = lines[number]
        return changes(strace(approved.sent, tracing / str(number)), {"sh", *names})

    # Several at a time: some wait for seconds.
    with ThreadPoolExecutor(6) as pool:
        results = [*pool.map(run, range(len(lines)))]
    found = {lines[n][0].body: calls for n, calls in enumerate(results) if calls}
    assert not found
    if len(lines) < 250:
        missing("programs of the benign lines")


CHANGING = {
    "echo x > {}": "openat", "rm -f {}": "unlinkat", "mkdir {}": "mkdir", "env true": "execve",
    "touch {}": "openat", "sh -c 'kill -15 $$'": "kill", "ln -s x {}": "symlink",
    "mv {} {}2": "rename", "cp /etc/hosts {}": "openat", "chmod 600 {}": "fchmodat",
}  # fmt: skip


@pytest.mark.parametrize("script", CHANGING)
def test_a_line_that_changes_something_is_found_out(script: str, tracing: Path) -> None:
    (tracing / "file").touch()
    trace = strace(script.format(*[str(tracing / "file")] * 2), tracing / "trace")
    found = changes(trace, {"sh", "rm", "mkdir", "touch", "ln", "mv", "cp", "chmod", "env"})
    assert any(call.startswith(CHANGING[script]) for call in found), found


# ---------------------------------------------------------------- what is opened of the kernel's

_KERNEL = re.compile(r"/(?:dev|sys)(?:/|$)")
_SAID_IN_LINE = re.compile(r"/(?:dev|sys)(?:/[^*?]*|$)")


def opened_unasked(trace: str, approved: ApprovedCommand) -> list[str]:
    """What was opened below /dev and /sys that neither the line names nor an entry says."""
    patterns: list[PathPattern] = []
    named: list[str] = []
    for stage in approved.stages:
        patterns += map(PathPattern, COMMANDS[program_name(stage.words[0].text)].opens)
        named += [said[0] for w in stage.words if (said := _SAID_IN_LINE.match(w.text))]
        patterns += [PathPattern(word.text) for word in stage.words if word.is_glob]
    unasked: list[str] = []
    for name, rest in _CALL.findall(trace):
        path = (_STRING.findall(rest) or [""])[0]
        # The shell goes through the folders of a pattern.
        asked = any(path.startswith(one) or one.startswith(path) for one in named)
        by_entry = any(pattern.expression.fullmatch(path.rstrip("/")) for pattern in patterns)
        if name.startswith("open") and _KERNEL.match(path) and path not in _NOWHERE:
            unasked += [path] if not asked and not by_entry else []
    return unasked


def lines_to_open() -> list[ApprovedCommand]:
    folder = Path(__file__).parent / "corpus"
    texts = [example for entry in COMMANDS.values() for example in entry.examples]
    for name in ("benign", "kernel"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        texts += [line["command"] for line in lines if line["expect"] == "allow"]
    found: list[ApprovedCommand] = []
    for text in sorted({*texts} - LEFT_OUT.keys()):
        approved = POLICY.judge(text)
        assert isinstance(approved, ApprovedCommand), text
        names = [program_name(stage.words[0].text) for stage in approved.stages]
        walks = text.startswith(("find /", "du", "tree", "ls -R"))
        # An entry that is not read-only says what else it does, and need not be run here.
        quiet = all(name in COMMANDS and COMMANDS[name].read_only for name in names)
        if quiet and not walks and all(map(installed, names)):
            found.append(approved)
    return found


def test_devices_and_the_kernels_files_are_opened_only_where_an_entry_says_so(
    tracing: Path,
) -> None:
    lines = lines_to_open()
    assert len(lines) >= 200

    def run(number: int) -> list[str]:
        return opened_unasked(strace(lines[number].sent, tracing / str(number)), lines[number])

    with ThreadPoolExecutor(6) as pool:
        results = [*pool.map(run, range(len(lines)))]
    assert not {lines[n].body: paths for n, paths in enumerate(results) if paths}


def test_what_is_opened_unasked_is_found_out(tracing: Path) -> None:
    approved = POLICY.judge("df -h /dev/shm")
    assert isinstance(approved, ApprovedCommand)
    trace = strace("df /dev/shm; cat /sys/kernel/uevent_seqnum /dev/null", tracing / "trace")
    assert opened_unasked(trace, approved) == ["/sys/kernel/uevent_seqnum"]
