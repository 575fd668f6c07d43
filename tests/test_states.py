"""The life of a command on disk, in every order of calls, by two processes that may die anywhere.

A model says what each record must be; the journal is asked by both processes after every step. A
crash is a copy of the files as they stand in the middle of a step: what a power cut would leave.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from unittest.mock import patch

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hostup_mcp.execution.journal.errors import KeyConflict
from hostup_mcp.execution.journal.limits import START_LEASE_SECONDS, DuplicateWindow
from hostup_mcp.execution.journal.losses import GIVEN_UP, GONE_FOR_GOOD
from hostup_mcp.execution.journal.records import (
    COMES_FROM,
    Completed,
    Ended,
    EndKind,
    Execution,
    Intended,
    Output,
    Running,
    Sent,
    StateName,
    Stream,
)
from hostup_mcp.execution.journal.sqlite.database import Database
from hostup_mcp.execution.journal.sqlite.store import SqliteStore

WINDOW: Final = 50.0
OVER: Final = ("completed", "not_started", "unknown", "lost")
processes = st.sampled_from(["one", "other"])
numbers = st.integers(0, 3)
pids = st.sampled_from([7, 8])


class Crashed(BaseException):
    """The process is gone; nobody catches this."""


@dataclass
class Known:
    """What a record must be, by the model."""

    exec_id: str
    vps_id: str
    command: str
    key: str | None
    created_at: float
    lease_until: float
    name: StateName = "intended"
    pid: int | None = None
    text: str | None = None
    code: str = ""
    ended_at: float = 0.0
    is_read: bool = False
    is_prepared: bool = False
    seen: list[StateName] = field(default_factory=lambda: ["intended"])

    def step(self, name: StateName) -> bool:
        """Whether the step is one of the state machine's; then it is taken."""
        if self.name not in COMES_FROM[name] or self.code in GONE_FOR_GOOD:
            return False
        event(f"{self.name} to {name}")
        self.name = name
        self.seen.append(name)
        return True


def name_of(record: Execution) -> StateName:
    match record.state:
        case Intended():
            return "intended"
        case Sent():
            return "sent"
        case Running():
            return "running"
        case Completed():
            return "completed"
        case Ended(kind=kind):
            return kind


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folders: list[Path] = []
        self.journals: dict[str, SqliteStore] = {}
        self.known: dict[str, Known] = {}
        self.now = 1000.0
        self.acting = "one"
        self.crash_at = 0

    def teardown(self) -> None:
        for journal in self.journals.values():
            journal.close()
        for folder in self.folders:
            shutil.rmtree(folder)

    # -------------------------------------------------------------- processes

    @initialize()
    def begin(self) -> None:
        self.folders.append(Path(tempfile.mkdtemp()))
        self._open()
        for command, steps in (("uptime", 3), ("df", 1), ("uptime", 2)):
            self.order("one", "vps_1", command, None, None)
            for _ in range(steps):
                self.live_on("one", 0, 7, is_found=False)

    def _open(self) -> None:
        self.journals = {name: self._opened() for name in ("one", "other")}

    def _opened(self) -> SqliteStore:
        return SqliteStore(self.folders[-1] / "journal", lambda: self.now, lambda: self.acting)

    @rule(process=processes)
    def restart(self, process: str) -> None:
        self.journals[process].close()
        self.journals[process] = self._opened()

    @rule(seconds=st.sampled_from([1.0, WINDOW, START_LEASE_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(statements=st.integers(1, 3))
    def crash_soon(self, statements: int) -> None:
        """The next step ends with its process, after so many statements and before its commit."""
        self.crash_at = statements

    @contextmanager
    def _step(self, process: str) -> Generator[SqliteStore]:
        """One step of a process; where it crashes, both go on with what is on disk then."""
        self.now += 1.0
        self.acting = process
        left, self.crash_at = self.crash_at, 0
        if not left:
            yield self.journals[process]
            return
        execute = Database.execute

        def dying(database: Database, *arguments: object) -> int:
            nonlocal left
            changed = execute(database, *arguments)  # type: ignore[arg-type]
            left -= 1
            if left == 0:
                copy = Path(tempfile.mkdtemp())
                shutil.copytree(self.folders[-1], copy, dirs_exist_ok=True)
                (copy / "journal-shm").unlink()  # shared memory, which a power cut takes
                self.folders.append(copy)
                raise Crashed
            return changed

        with patch.object(Database, "execute", dying):
            yield self.journals[process]
        # The step had fewer statements, and has been taken.

    def _dies(self, call: Callable[[], None]) -> bool:
        """Take a step: whether the process died in it, so that it never was."""
        try:
            call()
        except Crashed:
            event("a crash in a step")
            for journal in self.journals.values():
                journal.close()
            self._open()
            return True
        return False

    # -------------------------------------------------------------- orders

    @rule(
        process=processes,
        vps_id=st.sampled_from(["vps_1", "vps_2"]),
        command=st.sampled_from(["uptime", "df"]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        duplicates=st.sampled_from([None, DuplicateWindow(0), DuplicateWindow(WINDOW)]),
    )
    def order(
        self,
        process: str,
        vps_id: str,
        command: str,
        key: str | None,
        duplicates: DuplicateWindow | None,
    ) -> None:
        found: list[tuple[str, str]] = []

        def intend() -> None:
            with self._step(process) as journal:
                try:
                    intent = journal.record_intent(
                        vps_id, command, "p@0", key=key, duplicates=duplicates
                    )
                except KeyConflict as conflict:
                    found.append(("conflict", conflict.execution.exec_id))
                else:
                    found.append((intent.claim, intent.execution.exec_id))

        if self._dies(intend):
            return
        ((claim, exec_id),) = found
        expected, earlier = self._claim(vps_id, command, key, duplicates)
        assert claim == expected
        if earlier is not None:
            assert exec_id == earlier.exec_id
            return
        assert exec_id not in self.known
        for known in self.known.values():
            if key is not None and (known.vps_id, known.key) == (vps_id, key):
                known.key = None
        self.known[exec_id] = Known(
            exec_id, vps_id, command, key, self.now, self.now + START_LEASE_SECONDS
        )

    def _claim(
        self, vps_id: str, command: str, key: str | None, duplicates: DuplicateWindow | None
    ) -> tuple[str, Known | None]:
        here = [known for known in self.known.values() if known.vps_id == vps_id]
        if key is not None:
            return self._claim_by_key([k for k in here if k.key == key], command)
        same = [known for known in here if known.command == command]
        if duplicates and duplicates.seconds:
            since = self.now - duplicates.seconds
            untold = [
                known
                for known in same
                if known.name not in OVER
                or (
                    (
                        known.name == "completed"
                        or (known.name == "lost" and known.code != GIVEN_UP.code)
                    )
                    and known.ended_at > since
                    and not known.is_read
                )
            ]
            if untold:
                return "repeat", untold[-1]
        for place, known in reversed(list(enumerate(same))):
            if known.name == "unknown" and not any(
                later.key and later.name != "not_started" and later.created_at >= known.ended_at
                for later in same[place + 1 :]
            ):
                return "unclear", known
        return "new", None

    @staticmethod
    def _claim_by_key(holders: list[Known], command: str) -> tuple[str, Known | None]:
        if not holders:
            return "new", None
        (holder,) = holders
        if holder.command != command:
            return "conflict", holder
        return ("new", None) if holder.name == "not_started" else ("same_key", holder)

    # -------------------------------------------------------------- steps, in any order

    def _take(
        self,
        process: str,
        number: int,
        name: StateName,
        step: Callable[[SqliteStore, Execution], Execution],
    ) -> bool:
        """A step by a caller who may know only an old state of the record: whether it was taken."""
        known = self._pick(number)
        returned: list[Execution] = []

        def call() -> None:
            with self._step(process) as journal:
                record = journal.get(known.exec_id)
                assert record
                returned.append(step(journal, record))

        if self._dies(call):
            return False
        if name == "completed":
            # A start of another process contests it, until that is confirmed.
            with self._step(process) as journal:
                returned[0] = journal.confirm_result(returned[0])
        taken = known.step(name)
        assert name_of(returned[0]) == known.name, "what is returned is what is on disk"
        return taken

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers)
    def send(self, process: str, number: int) -> None:
        self._take(process, number, "sent", lambda journal, record: journal.mark_sent(record))

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers)
    def find_unsent(self, process: str, number: int) -> None:
        self._take(process, number, "intended", lambda j, record: j.mark_unsent(record))

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers, pid=pids)
    def run(self, process: str, number: int, pid: int) -> None:
        if not self._take(process, number, "running", lambda j, r: j.mark_running(r, pid)):
            return
        known = self._pick(number)
        known.pid, known.code = pid, ""
        known.lease_until = self.now + START_LEASE_SECONDS
        for other in self.known.values():
            if (
                other is not known
                and (other.vps_id, other.pid) == (known.vps_id, pid)
                and other.name in ("running", "lost")
                and other.code not in GONE_FOR_GOOD
            ):
                if other.name == "running":
                    other.seen.append("lost")
                other.name, other.code, other.ended_at = "lost", "pid_reused", self.now

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers, text=st.sampled_from(["", "a", "b\ud800"]))
    def complete(self, process: str, number: int, text: str) -> None:
        def step(journal: SqliteStore, record: Execution) -> Execution:
            return journal.complete(
                record, exit_code=0, signal=None, stdout=Stream(text), stderr=Stream("")
            )

        known = self._pick(number)
        heir = self._heir(known)
        crashes = len(self.folders)
        if self._take(process, number, "completed", step):
            known.text, known.ended_at = text, self.now
        elif heir is not None and len(self.folders) == crashes:
            assert heir.step("completed")
            heir.text, heir.ended_at = text, self.now

    def _heir(self, known: Known) -> Known | None:
        """Whose the result is that comes for a pid that was given to a newer command."""
        same = [
            other
            for other in self.known.values()
            if (other.vps_id, other.pid) == (known.vps_id, known.pid)
        ]
        is_given_on = known.name == "lost" and known.code == "pid_reused"
        return same[-1] if is_given_on and same[-1].name == "running" else None

    @precondition(lambda self: self.known)
    @rule(
        process=processes,
        number=numbers,
        kind=st.sampled_from(["not_started", "unknown", "lost"]),
        code=st.sampled_from(["c", *GONE_FOR_GOOD]),
    )
    def end(self, process: str, number: int, kind: EndKind, code: str) -> None:
        code = code if kind == "lost" else "c"

        def step(journal: SqliteStore, record: Execution) -> Execution:
            return journal.end(record, kind, code=code, message="m", advice="a")

        if self._take(process, number, kind, step):
            known = self._pick(number)
            known.code, known.ended_at = code, self.now

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers)
    def give_up(self, process: str, number: int) -> None:
        known = self._pick(number)

        def call() -> None:
            with self._step(process) as journal:
                record = journal.get(known.exec_id)
                assert record
                journal.give_up(record)

        if self._dies(call) or known.name != "running" or known.lease_until >= self.now:
            return
        known.step("lost")
        known.code, known.ended_at = GIVEN_UP.code, self.now

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers, keep_raw=st.booleans())
    def show(self, process: str, number: int, keep_raw: bool) -> None:
        known = self._pick(number)

        def call() -> None:
            with self._step(process) as journal:
                record = journal.get(known.exec_id)
                assert record
                shown = Stream(f"shown {known.text}".replace("\ud800", "?"), changes={"x": 1})
                prepared = Output(shown, Stream("", changes={}))
                journal.replace_output(record, prepared, keep_raw=keep_raw)

        if not self._dies(call) and known.name == "completed" and not known.is_prepared:
            known.is_prepared = True
            known.text = f"shown {known.text}".replace("\ud800", "?")

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers)
    def tell(self, process: str, number: int) -> None:
        known = self._pick(number)

        def call() -> None:
            with self._step(process) as journal:
                record = journal.get(known.exec_id)
                assert record
                journal.mark_read(record)

        if not self._dies(call) and known.name in OVER:
            known.is_read = True

    @precondition(lambda self: self.known)
    @rule(process=processes, number=numbers, pid=pids, is_found=st.booleans())
    def live_on(self, process: str, number: int, pid: int, is_found: bool) -> None:
        """The step that comes next in a life without accidents, or a result that is lost."""
        match self._pick(number).name:
            case "intended":
                self.send(process, number)
            case "sent":
                self.run(process, number, pid)
            case "running" | "lost" if is_found:
                self.complete(process, number, "a")
            case "running":
                self.end(process, number, "lost", "c")
            case _:
                self.tell(process, number)

    def _pick(self, number: int) -> Known:
        """A record, the newest for 0."""
        known = list(self.known.values())
        return known[-1 - number % len(known)]

    # -------------------------------------------------------------- what always holds

    @invariant()
    def every_record_is_there_and_as_the_model_has_it(self) -> None:
        for journal in self.journals.values():
            for known in self.known.values():
                record = journal.get(known.exec_id)
                assert record
                assert name_of(record) == known.name
                assert (record.vps_id, record.command) == (known.vps_id, known.command)
                match record.state:
                    case Completed() as state:
                        assert journal.output(record).stdout.text == known.text
                        assert state.is_prepared == known.is_prepared
                        assert state.pid == known.pid
                    case Ended() as state:
                        assert state.code == known.code
                    case Running(pid=pid):
                        assert pid == known.pid
                    case _:
                        assert record.pid is None
                assert (record.read_at is not None) == known.is_read

    @invariant()
    def a_command_is_sent_once_more_only_where_it_never_arrived(self) -> None:
        for known in self.known.values():
            for before, after in zip(known.seen, known.seen[1:], strict=False):
                assert before in COMES_FROM[after]
            sent = known.seen.count("sent")
            assert sent - (known.seen.count("intended") - 1) <= 1
            if "running" in known.seen:
                assert "sent" not in known.seen[known.seen.index("running") :]
            assert known.seen.count("completed") <= 1
            assert "completed" not in known.seen[:-1], "nothing leaves a result"

    @invariant()
    def a_pid_is_one_commands(self) -> None:
        running = [(k.vps_id, k.pid) for k in self.known.values() if k.name == "running"]
        assert len(running) == len(set(running))
        for vps_id, pid in running:
            for journal in self.journals.values():
                assert pid is not None
                found = [
                    record
                    for record in journal.unfinished(0, 100)
                    if (record.vps_id, record.pid) == (vps_id, pid)
                ]
                assert len(found) == 1


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=70, stateful_step_count=50, deadline=None)
