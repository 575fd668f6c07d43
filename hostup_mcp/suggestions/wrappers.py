"""Wrappers, programs that run another one on this host as this user, and the command inside them.

Only these wrappers are removed. Without a wrapper that changes the user, the host, the root folder
or the environment (`sudo -u`, `ssh`, `docker exec`, `chroot`, `env X=1`), the command would not be
the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hostup_mcp.policy.preset import program_name
from hostup_mcp.suggestions.substitutes import Wrapper, substitutes

Argv = tuple[str, ...]


_RUNS_TEXT = re.compile(r"-[le]{0,2}c")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=.*", re.DOTALL)
_NO_MATTER = re.compile(
    r"LC_[A-Z]+|LANG|LANGUAGE|TERM|COLUMNS|LINES|NO_COLOR|PAGER|SYSTEMD_(?:PAGER|COLORS)"
)


def matters_not(assignment: str) -> bool:
    """Whether an assignment such as `LANG=C` does not change what the command does."""
    found = _ASSIGNMENT.fullmatch(assignment)
    return found is not None and _NO_MATTER.fullmatch(found[1]) is not None


def unwrapped(argv: Argv) -> Argv:
    """The argv without the wrappers around it; unchanged if there are none to remove."""
    while program_name(argv[0]) != "watch" and (inner := _inside(argv)):
        argv = inner
    return argv


def inner_line(argv: Argv) -> str | None:
    """The line that a shell would run: for `sudo sh -c 'df -h | sort'` it is `df -h | sort`."""
    inner: Argv | None = argv
    while inner:
        argv, name = inner, program_name(inner[0])
        if name in substitutes().shells.names:
            is_text = len(argv) == 3 and _RUNS_TEXT.fullmatch(argv[1])
            return argv[2] if is_text else None
        inner = _inside(argv)
        if name == "watch":
            # It joins its words with blanks and gives them to a shell.
            return " ".join(inner) if inner else None
    return None


def _inside(argv: Argv) -> Argv | None:
    """The argv that a wrapper would run, without the wrapper's own words."""
    wrapper = substitutes().wrapper.get(program_name(argv[0]))
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


def _after_options(wrapper: Wrapper, words: Argv) -> Argv | None:
    """The words after the options; None if an option is not known to be harmless."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "--":
            return words[at + 1 :]
        taken = _option_length(wrapper, words[at:])
        if not taken:
            return None
        at += taken
    return words[at:]


def _option_length(wrapper: Wrapper, words: Sequence[str]) -> int:
    """The number of words of a harmless option with its value; 0 for any other option."""
    word, options = words[0], wrapper.options
    if word in wrapper.flags:
        return 1
    name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
    if name in options:
        attached = bool(equals or value)
        if not attached:
            value = words[1] if len(words) > 1 else ""
        fits = bool(value) and (not options[name] or value in options[name].split())
        return (1 if attached else 2) * fits
    is_cluster = not word.startswith("--") and all(f"-{c}" in wrapper.flags for c in word[1:])
    return int(is_cluster and len(word) > 1)
