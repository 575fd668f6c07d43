"""Programs that run another one on this host as this user, and the command that they would run.

Only these are undone. What changes the user, the host, the root folder or the environment in a way
that matters (`sudo -u`, `ssh`, `docker exec`, `chroot`, `env X=1`) is not the same command without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.preset import program_name

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """How a wrapper's own words are told from the command's.

    Attributes:
        flags: options without a value that change nothing of the command.
        options: options with a value, likewise; where values are named, only with one of these.
        operands: words of its own before the command.
        assignments: whether words such as `LANG=C` may stand there.
    """

    flags: frozenset[str] = frozenset()
    options: Mapping[str, frozenset[str]] | None = None
    operands: int = 0
    assignments: bool = False


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _valued(text: str, values: str = "") -> dict[str, frozenset[str]]:
    return dict.fromkeys(text.split(), _words(values))


_WRAPPERS: Final = {
    "sudo": _Wrapper(
        _words("-n -E -H -S -k -P --non-interactive --preserve-env --set-home --stdin"),
        _valued("-u --user", "root #0"),
        assignments=True,
    ),
    "doas": _Wrapper(_words("-n"), _valued("-u", "root")),
    "env": _Wrapper(assignments=True),
    "nohup": _Wrapper(),
    "timeout": _Wrapper(
        _words("--foreground --preserve-status -v --verbose"),
        _valued("-k -s --kill-after --signal"),
        operands=1,
    ),
    "nice": _Wrapper(options=_valued("-n --adjustment")),
    "ionice": _Wrapper(_words("-t --ignore"), _valued("-c -n --class --classdata")),
    "time": _Wrapper(_words("-p -v --portability --verbose")),
    "stdbuf": _Wrapper(options=_valued("-i -o -e --input --output --error")),
    "setsid": _Wrapper(_words("-w --wait")),
    "watch": _Wrapper(
        _words("-d -t -e -g -c -b --differences --no-title --errexit --chgexit --color --beep"),
        _valued("-n --interval"),
    ),
    "command": _Wrapper(_words("-p")),
    "exec": _Wrapper(),
}
_SHELLS: Final = _words("sh bash dash ash zsh ksh ksh93 mksh")
_RUNS_TEXT = re.compile(r"-[le]{0,2}c")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=.*", re.DOTALL)
_NO_MATTER = re.compile(
    r"LC_[A-Z]+|LANG|LANGUAGE|TERM|COLUMNS|LINES|NO_COLOR|PAGER|SYSTEMD_(?:PAGER|COLORS)"
)


def matters_not(assignment: str) -> bool:
    """Whether an assignment (`LANG=C`) leaves a command what it is."""
    found = _ASSIGNMENT.fullmatch(assignment)
    return found is not None and _NO_MATTER.fullmatch(found[1]) is not None


def unwrapped(argv: Argv) -> Argv:
    """The argv without the wrappers around it; the same where there are none to undo."""
    while program_name(argv[0]) != "watch" and (inner := _inside(argv)):
        argv = inner
    return argv


def inner_line(argv: Argv) -> str | None:
    """The command line that a shell was to run: of `sudo sh -c 'df -h | sort'`, `df -h | sort`."""
    inner: Argv | None = argv
    while inner:
        argv, name = inner, program_name(inner[0])
        if name in _SHELLS:
            is_text = len(argv) == 3 and _RUNS_TEXT.fullmatch(argv[1])
            return argv[2] if is_text else None
        inner = _inside(argv)
        if name == "watch":
            # It hands its words to a shell, with blanks between.
            return " ".join(inner) if inner else None
    return None


def _inside(argv: Argv) -> Argv | None:
    """The argv that a wrapper would run, its own words left out."""
    wrapper = _WRAPPERS.get(program_name(argv[0]))
    if wrapper is None:
        return None
    rest = _after_options(wrapper, argv[1:])
    if rest is None:
        return None
    rest = rest[wrapper.operands :]
    while wrapper.assignments and rest and "=" in rest[0]:
        if not matters_not(rest[0]):
            return None
        rest = rest[1:]
    return rest if rest and rest[0] and rest[0][0] not in "-=" else None


def _after_options(wrapper: _Wrapper, words: Argv) -> Argv | None:
    """What follows the options; None where one of them is not known to be harmless."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "--":
            return words[at + 1 :]
        taken = _option_length(wrapper, words[at:])
        if not taken:
            return None
        at += taken
    return words[at:]


def _option_length(wrapper: _Wrapper, words: Sequence[str]) -> int:
    """How many words a harmless option takes with its value; 0 for any other."""
    word, options = words[0], wrapper.options or {}
    if word in wrapper.flags:
        return 1
    name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
    if name in options:
        attached = bool(equals or value)
        if not attached:
            value = words[1] if len(words) > 1 else ""
        fits = bool(value) and (not options[name] or value in options[name])
        return (1 if attached else 2) * fits
    is_cluster = not word.startswith("--") and all(f"-{c}" in wrapper.flags for c in word[1:])
    return int(is_cluster and len(word) > 1)
