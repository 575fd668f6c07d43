"""One execution at work, as its callers see it."""

from __future__ import annotations

from typing import Final

import anyio

from hostup_mcp.execution.faults import Fault
from hostup_mcp.execution.journal.records import Execution, Intended, Running, Sent

START_SECONDS: Final = 5.0
"""How long a caller waits for the start, even one that does not wait for the end."""


class Job:
    """One execution that this process drives.

    Attributes:
        execution: the newest record, as it is on disk.
        problem: the latest error, until it is overcome.
        pid: the process id in the guest; it may not be on disk yet.
        started_at: when the reply with the pid came, on anyio's clock; None if it came to another
            process.
        is_confirmed: whether HostUp is known to have the command; false for a foreign one until
            HostUp answers.
        polls: how often the result was polled.
        started: set once the command runs, or never will.
        done: set once nothing more will happen here.
        wake: set to poll now; a new event for each pause.
        answered: set when a poll was answered; a new event for each poll.
        abandoned: whether the caller has left, so that what is not sent yet stays unsent.
        waiting: how many callers wait for it.
    """

    def __init__(self, execution: Execution, *, is_confirmed: bool = True) -> None:
        self.execution = execution
        self.problem: Fault | None = None
        self.pid = execution.pid
        self.started_at: float | None = None
        self.is_confirmed = is_confirmed
        self.polls = 0
        self.started = anyio.Event()
        self.done = anyio.Event()
        self.wake = anyio.Event()
        self.answered = anyio.Event()
        self.abandoned = False
        self.waiting = 0

    @property
    def is_deserted(self) -> bool:
        """Whether its caller has left and nobody else waits for it."""
        return self.abandoned and self.waiting == 0

    def describe(self) -> str:
        """What it is doing now, for progress: the state, the number of polls, and the exec_id."""
        if not self.is_confirmed:
            return f"asking HostUp for pid {self.pid}"
        match self.execution.state:
            case Intended():
                doing = "asking whether the VPS accepts commands"
            case Sent():
                doing = "starting"
            case Running(pid=pid):
                doing = f"running as pid {pid}, polled {self.polls} times"
            case _:
                doing = "finished"
        return f"{doing}; exec_id {self.execution.exec_id}"

    async def wait(
        self, seconds: float, *, ask_now: bool = False, start_seconds: float = START_SECONDS
    ) -> None:
        """Wait until it is done.

        Args:
            seconds: the longest wait.
            ask_now: poll at once, whatever the schedule's pause, and wait for that answer for
                `start_seconds` at most.
            start_seconds: the longest wait for the start, even if `seconds` is less.
        """
        self.waiting += 1
        try:
            await self._wait(seconds, start_seconds, ask_now=ask_now)
        finally:
            self.waiting -= 1

    async def _wait(self, seconds: float, start_seconds: float, *, ask_now: bool) -> None:
        began = anyio.current_time()
        with anyio.move_on_after(max(seconds, start_seconds)):
            await self.started.wait()
            if ask_now and not self.done.is_set():
                answered = self.answered
                self.wake.set()
                with anyio.move_on_after(start_seconds):
                    await answered.wait()
        with anyio.move_on_after(max(0.0, seconds - (anyio.current_time() - began))):
            await self.done.wait()

    def answer(self) -> None:
        """A poll was answered."""
        self.answered.set()
        self.answered = anyio.Event()

    def close(self) -> None:
        """Nothing more will happen here."""
        self.started.set()
        self.answered.set()
        self.done.set()

    def abandon(self) -> None:
        """The caller has left: do not send what has not been sent yet."""
        self.abandoned = True
