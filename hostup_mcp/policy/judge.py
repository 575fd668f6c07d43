"""The verdict on a command: an `ApprovedCommand`, or a `Refusal` that says what would pass."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.allowlist import ALLOWED
from hostup_mcp.policy.grammar import SyntaxRefusal, parse, render

WHO_CAN_CHANGE: Final = (
    "The list is part of this version of hostup-mcp; nothing an agent can call changes it."
)


class _Seal:
    """Proof that a command comes from `judge`: made in this module only."""


_SEAL: Final = _Seal()


@dataclass(frozen=True, slots=True, init=False)
class ApprovedCommand:
    """A command that passed the policy. Only `judge` makes one.

    Attributes:
        argv: what was judged.
        text: what is sent: rebuilt from `argv`, never the agent's own text.
    """

    argv: tuple[str, ...]
    text: str

    def __init__(self, seal: _Seal, argv: Sequence[str]) -> None:
        if seal is not _SEAL:
            raise TypeError("only hostup_mcp.policy.judge.judge makes an ApprovedCommand")
        object.__setattr__(self, "argv", tuple(argv))
        object.__setattr__(self, "text", render(argv))

    def __reduce__(self) -> str:
        raise TypeError("an ApprovedCommand cannot be pickled or copied")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command may not be sent.

    Attributes:
        code: `empty_command`, `character_refused` or `not_allowed`.
        message: one sentence on what was refused and why.
        offset: where in the command, in characters from 0.
        length: how many characters are meant.
        hint: one sentence on what to do instead.
        nearest: allowed commands that come closest, best first.
    """

    code: str
    message: str
    offset: int
    length: int
    hint: str
    nearest: tuple[str, ...]


def judge(text: str) -> ApprovedCommand | Refusal:
    """Parse a command, look its whole argv up, and rebuild it.

    Args:
        text: the command as the agent wrote it.
    """
    argv = parse(text)
    if isinstance(argv, SyntaxRefusal):
        nearest = _nearest(text[: argv.offset].split() or text.split())
        return Refusal(argv.code, argv.message, argv.offset, argv.length, argv.hint, nearest)
    if argv in ALLOWED and parse(render(argv)) == argv:
        return ApprovedCommand(_SEAL, argv)
    return _not_allowed(text, argv)


def allowed_commands() -> tuple[str, ...]:
    """Every allowed command as text, in alphabetical order."""
    return tuple(sorted(render(argv) for argv in ALLOWED))


def _not_allowed(text: str, argv: tuple[str, ...]) -> Refusal:
    name = argv[0]
    nearest = _nearest(argv)
    if any(allowed[0] == name for allowed in ALLOWED):
        message = f"{name} is allowed, but not with these arguments."
    else:
        message = f"The program {name} is not on the list of allowed commands."
    hint = (
        "Send one of the nearest allowed commands, exactly as it stands."
        if nearest
        else f"Allowed programs: {', '.join(sorted({a[0] for a in ALLOWED}))}."
    )
    start = text.index(name)
    length = len(text.rstrip()) - start
    return Refusal("not_allowed", message, start, length, hint, nearest)


def _nearest(words: Sequence[str]) -> tuple[str, ...]:
    """Allowed forms of the same program, or of the program behind a `sudo`, closest first."""
    for start, name in enumerate(words[:2]):
        program = name.rsplit("/", 1)[-1]
        same = sorted(render(argv) for argv in ALLOWED if argv[0] == program)
        if same:
            wanted = " ".join([program, *words[start + 1 :]])
            return tuple(difflib.get_close_matches(wanted, same, n=3, cutoff=0.0))
    return ()
