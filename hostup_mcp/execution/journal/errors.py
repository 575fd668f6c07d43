"""The errors that a journal raises."""

from __future__ import annotations

from pathlib import Path

from hostup_mcp.execution.journal.records import Execution


class JournalError(Exception):
    """The journal cannot be read or written.

    Attributes:
        code: `journal_failed`.
        message: one sentence on what happened.
        advice: one sentence on what to do next.
    """

    code = "journal_failed"

    def __init__(self, location: Path | str, reason: str) -> None:
        self.message = f"The journal {location} cannot be used ({reason})."
        self.advice = "The operator should check that folder, its rights and the free disk space."
        super().__init__(f"{self.message} {self.advice}")


class JournalBusy(JournalError):
    """The journal did not get to a call in the time that its caller has."""

    def __init__(self, location: Path | str) -> None:
        super().__init__(location, "too much is waiting to be written")


class RecordGone(JournalError):
    """The record of an execution was deleted, so nothing can be added to it.

    Attributes:
        code: `record_gone`.
    """

    code = "record_gone"

    def __init__(self, location: Path | str) -> None:
        super().__init__(location, "")
        self.message = f"The record of this execution is no longer in the journal {location}."
        self.advice = "Check in the VPS what the command did."
        self.args = (f"{self.message} {self.advice}",)


class KeyConflict(Exception):
    """The idempotency key belongs to another command on this VPS.

    Attributes:
        execution: that command.
    """

    def __init__(self, other: Execution) -> None:
        super().__init__(other.exec_id)
        self.execution = other
