"""The report of all checks: a table for people, JSON for programs, an exit code."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final, Literal

from hostup_mcp.config.loading import ConfigError
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.hostup.errors import HostUpError
from hostup_mcp.output.clean import one_line
from hostup_mcp.transports.errors import ServeError

Status = Literal["ok", "warn", "fail", "not_made"]

_TEXT_MAX: Final = 1000
_SHOWN: Final = {"ok": "ok", "warn": "warn", "fail": "FAIL", "not_made": "-"}
_NEXT: Final = "-> "


ExplainedError = HostUpError | JournalError | ConfigError | ServeError
"""An error with a code, a sentence on what happened and one on what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        check: its name, such as `tls` or `vps`.
        status: `not_made` if another failure prevents it, or HostUp's reply does not show it.
        found: one or two sentences.
        advice: what to do next; empty if there is nothing to do.
        code: stable identifier of what is wrong; empty if nothing is.
        subject: the id of the VPS that it is about; empty for other checks.
    """

    check: str
    status: Status
    found: str
    advice: str = ""
    code: str = ""
    subject: str = ""

    @classmethod
    def of(cls, check: str, error: ExplainedError, status: Status = "fail") -> Check:
        """A check that ended with this error, in the error's words."""
        return cls(check, status, error.message, error.advice, error.code)

    def cleaned(self) -> Check:
        """The same, safe for a terminal: parts of the texts may come from HostUp or from files."""
        texts = (self.found, self.advice, self.code, self.subject)
        return Check(self.check, self.status, *(one_line(text, _TEXT_MAX) for text in texts))


def exit_code(checks: Sequence[Check]) -> int:
    """0 nothing failed, 1 something failed, 2 the configuration cannot be used."""
    failed = [check for check in checks if check.status == "fail"]
    if any(check.code == ConfigError.code for check in failed):
        return 2
    return 1 if failed else 0


def as_json(checks: Sequence[Check]) -> str:
    """One JSON object on one line: `version`, `exit_code` and `checks`."""
    document = {
        "version": version("hostup-mcp"),
        "exit_code": exit_code(checks),
        "checks": [asdict(check.cleaned()) for check in checks],
    }
    return json.dumps(document)


def as_table(checks: Sequence[Check], width: int) -> str:
    """A table with check, status, found and advice; lines over `width` only if a word is longer."""
    rows = [check.cleaned() for check in checks]
    name_width = max([len("check"), *(len(row.check) for row in rows)])
    lines = [f"{'check':<{name_width}}  status  found"]
    for row in rows:
        start = f"{row.check:<{name_width}}  {_SHOWN[row.status]:<6}  "
        lines += _wrapped(start + row.found, len(start), width)
        if row.advice:
            margin = " " * len(start)
            lines += _wrapped(margin + _NEXT + row.advice, len(start) + len(_NEXT), width)
    return "\n".join([*lines, _summary(rows)])


def _wrapped(text: str, margin: int, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, margin + 20),
        subsequent_indent=" " * margin,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(rows: Sequence[Check]) -> str:
    counts = {status: sum(row.status == status for row in rows) for status in _SHOWN}
    return (
        f"{counts['ok']} ok, {counts['warn']} with a warning, {counts['fail']} failed, "
        f"{counts['not_made']} not made."
    )
