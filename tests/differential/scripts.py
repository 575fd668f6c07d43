"""Programs that are scripts, run for real with recorders in place of all that they call.

A line is made from what the program's entry accepts, with words of every kind, and judged. What
was let through is run, and what the recorders were given must be what the judged words mean: the
same programs, each pattern and each file as it stood, nothing else, and no file made.
"""

from __future__ import annotations

import getopt
import os
import random
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostup_mcp.policy.judge import ApprovedCommand, Policy
from hostup_mcp.policy.models import Getopt
from tests.differential.oracle import expand
from tests.differential.world import read_records

FRAGMENTS = (
    "x", "error", "1", "5", "'", '"', "\\", " ", "$(d1)", "`d1`", ";d1;", "|d1|", "&d1&", ">made",
    "<", "(", ")", "!", "#", "*", "?", "[a]", "{a,b}", "~", "$x", "%s", "=", "-e", "-f", "-", "--",
    ".*", "^", "$", "a|b", "\\.", "e d1",
)  # fmt: skip
ENDS = ("", "", "'", '"', "\\", "$", "=")
FILE_NAMES = (
    b"plain.gz", b"a b.gz", b"a'b.gz", b"'.gz", b"';d1;'.gz", b'".gz', b"-ex.gz", b"-e';d1;'.gz",
    b"--help.gz", b"$(d1).gz", b"`d1`.gz", b";d1;.gz", b"&d1&.gz", b"|d1|.gz", b">made.gz",
    b"\\.gz", b"\\'.gz", b"a\nb.gz", b"\n;d1;\n.gz", b"|\ne d1\n.gz", b"|\n\nw made\n#.gz",
    b"x|e d1;#.gz", b"x|w made\n.gz", b"*.gz", b"[a].gz", b"#.gz", b"~.gz", b"=.gz", b"%s.gz",
    b"\xff'.gz", b"\xe4\xbd'.gz", b"{a,b}.gz", b" .gz", b"\t.gz",
)  # fmt: skip
CANARIES = ("d1", "id", "touch", "sh")
REAL = ("sed", "expr", "printf", "test")
"""Recorders that then run the program itself, because the scripts need what it says."""

PATTERNS = ("a*.gz", "-*.gz", "x*.gz", "?d1?.gz", "plain.gz")
INTERPRETERS = {"dash": ["dash"], "bash": ["bash"], "mksh": ["mksh"], "ksh93": ["ksh93"]}
"""What may stand behind `#!/bin/sh`. Not busybox: its shell runs its own sed and grep, whatever is
on PATH. Not yash, which drops what is no character of the locale. bash as `sh` lets zgrep read no
options after an operand; here it reads them, as in the policy."""

_RECORD = """printf '%s\\0' "$COMMAND_NUMBER" "$#" "$0" "$@" >>"$COMMAND_LOG"\n"""
_GREP = """case "$GREP_KNOWS_LABEL,$1,$2,$3" in 1,-H,--label=l,e) echo l:e;; esac\n"""

Runs = Counter[tuple[str, ...]]
_GREP_OPTIONS = "ivcnhHlwEFoe:A:B:C:m:"


class ScriptWorld:
    """A folder with recorders, and one with files of hostile names, which can be read."""

    def __init__(self, root: Path, policy: Callable[[str], Policy]) -> None:
        """Make it.

        Args:
            root: an empty folder of a plain name.
            policy: makes the policy under which these files may be read.
        """
        self.root = root
        self.path = root / "path"
        self.files = root / "files"
        self.working = root / "working"
        for folder in (self.path, self.files, self.working, root / "socks"):
            folder.mkdir()
        for name in FILE_NAMES:
            (Path(os.fsdecode(os.fsencode(self.files) + b"/" + name))).touch()
        for name in (*CANARIES, "gzip", "cat", "mktemp", "rm", "kill", "httpd"):
            self._write(name, _RECORD)
        self._write("grep", _RECORD + _GREP)
        for name in REAL:
            self._write(name, f'{_RECORD}exec {shutil.which(name)} "$@"\n')
        self.policy = policy(f"{self.files}/**")
        self._names = self._all_names()

    def _write(self, name: str, script: str) -> None:
        (self.path / name).write_text(f"#!/bin/sh\n{script}", "ascii")
        (self.path / name).chmod(0o755)

    def _all_names(self) -> set[Path]:
        return {*self.files.iterdir(), *self.working.iterdir()}

    def run(self, script: str, words: Sequence[str], shell: str = "dash", kind: int = 0) -> Ran:
        """Run a script of this system with these words, all else being recorders.

        Args:
            script: its path.
            words: what it is given.
            shell: which shell reads it.
            kind: 0 to 3: whether grep is GNU's (it knows --label), and which locale holds.
        """
        log = self.root / "log"
        log.unlink(missing_ok=True)
        program, *options = INTERPRETERS[shell]
        ran = subprocess.run(
            [shutil.which(program) or program, *options, script, *words],
            env={
                "PATH": str(self.path), "LC_ALL": ("C", "C.UTF-8")[kind // 2], "x": "d1",
                "COMMAND_NUMBER": "0", "COMMAND_LOG": str(log), "GREP_KNOWS_LABEL": str(kind % 2),
                "APACHE_HTTPD": "httpd", "APACHE_ENVVARS": "/nonexistent",
                "APACHE_RUN_DIR": str(self.root), "APACHE_LOCK_DIR": str(self.root),
                "APACHE_ULIMIT_MAX_FILES": ":",
            },
            cwd=self.working, stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
            check=False,
        )  # fmt: skip
        made = self._all_names() - self._names
        for path in made:
            path.unlink()
        runs = [(argv[0].rpartition("/")[2], *argv[1:]) for argv in read_records(log).get(0, [])]
        return Ran(runs, sorted(map(str, made)), ran.stderr.decode("utf-8", "replace"))


@dataclass(frozen=True)
class Ran:
    """What a script did.

    Attributes:
        runs: the programs, with their arguments.
        made: files that were not there before.
        said: its stderr.
    """

    runs: list[tuple[str, ...]]
    made: list[str]
    said: str


# ------------------------------------------------------------------ what should run


def _zgrep(words: Sequence[str]) -> Runs:
    options, operands = getopt.gnu_getopt(list(words), _GREP_OPTIONS)
    patterns = [value for name, value in options if name == "-e"]
    if not patterns:
        patterns, operands = operands[:1], operands[1:]
    rest = [part for name, value in options if name not in {"-e", "-H"} for part in (name, value)]
    files = operands or ["-"]
    runs: Runs = Counter(("gzip", "-cdfq", "--", file) for file in files)
    runs["grep", "patterns", *patterns, "options", *rest] += len(files)
    return runs


def _of_grep(argv: Sequence[str]) -> tuple[str, ...]:
    """What zgrep gave to grep, in the form of `_zgrep`."""
    try:
        options, operands = getopt.gnu_getopt(list(argv[1:]), _GREP_OPTIONS, ["label="])
    except getopt.GetoptError as error:
        return (*argv, f"unreadable: {error}")
    patterns = [value for name, value in options if name == "-e"]
    if not patterns:
        patterns, operands = operands[:1], operands[1:]
    ours = {"-e", "-H", "--label"}
    rest = [part for name, value in options if name not in ours for part in (name, value)]
    return ("grep", "patterns", *patterns, "options", *rest, *operands)


EXPECTED: dict[str, Callable[[Sequence[str]], Runs]] = {
    "zgrep": _zgrep,
    "zcat": lambda words: Counter([("gzip", "-cd", *words)]),
    "egrep": lambda words: Counter([("grep", "-E", *words)]),
    "fgrep": lambda words: Counter([("grep", "-F", *words)]),
}
"""By program, what its words mean."""

_HELPERS = {"sed", "expr", "printf", "test"}
_TRIAL = ("grep", "-H", "--label=l", "e")


def problem(name: str, words: Sequence[str], ran: Ran) -> str:
    """How what ran differs from what the words mean; empty where it does not."""
    runs: Runs = Counter()
    for argv in ran.runs:
        if name == "zgrep" and argv[0] == "grep":
            if argv != _TRIAL:
                runs[_of_grep(argv)] += 1
        elif name != "zgrep" or argv[0] not in _HELPERS:
            runs[argv] += 1
    expected = EXPECTED[name](words)
    if ran.made:
        return f"made {ran.made}"
    if runs != expected:
        return f"ran {[*(runs - expected)]}, did not run {[*(expected - runs)]}; said {ran.said}"
    return "" if not ran.said else f"said {ran.said}"


# ------------------------------------------------------------------ lines


class ScriptLines:
    """Lines for one program, made at random from a seed out of its entry."""

    def __init__(self, seed: str, name: str, entry: Getopt, world: ScriptWorld) -> None:
        self._random = random.Random(f"{seed} {name}")  # noqa: S311
        self._name = name
        self._entry = entry
        self._world = world

    def text(self) -> str:
        """A line: mostly of the accepted form, with values that may be anything."""
        pick = self._random
        words = [shlex.quote(word) for _ in range(pick.randrange(4)) for word in self._option()]
        if pick.random() < 0.1:
            words.append("--")
        if self._entry.first and pick.random() < 0.9:
            words.append(shlex.quote(self._value()))
        files = [self._file() for _ in range(pick.randrange(1, 3))]
        if pick.random() < 0.1:
            files += [shlex.quote(word) for word in self._option()]
        return " ".join([self._name, *words, *files])

    def _option(self) -> Iterator[str]:
        pick, entry = self._random, self._entry
        flags = [flag[1] for flag in entry.flags if len(flag) == 2]
        valued = [name for name in entry.options if len(name) == 2]
        cluster = "".join(pick.choices(flags, k=pick.randrange(3))) if flags else ""
        if valued and pick.random() < 0.7:
            name = pick.choice(valued)
            is_number = entry.options[name] == "int"
            value = str(pick.randrange(99)) if is_number else self._value()
            if pick.random() < 0.5:
                yield f"-{cluster}{name[1]}{value}{pick.choice(ENDS)}"
            else:
                yield f"-{cluster}{name[1]}"
                yield value
        elif cluster:
            yield f"-{cluster}{self._value() if pick.random() < 0.2 else ''}"

    def _value(self) -> str:
        pick = self._random
        if pick.random() < 0.2:
            return pick.choice(("error", "out of memory", "a|b", "x"))
        return "".join(pick.choices(FRAGMENTS, k=pick.randrange(1, 4)))

    def _file(self) -> str:
        pick = self._random
        if pick.random() < 0.5:
            return f"{self._world.files}/{pick.choice(PATTERNS)}"
        name = os.fsdecode(pick.choice(FILE_NAMES)) if pick.random() < 0.7 else self._value()
        return shlex.quote(f"{self._world.files}/{name}")


def argv_of(approved: ApprovedCommand) -> list[str]:
    """The words that the program of a line of one stage gets, patterns expanded."""
    (stage,) = approved.stages
    return [
        text
        for word in stage.words[1:]
        for text in (expand(word.text) if word.is_glob else [word.text])
    ]
