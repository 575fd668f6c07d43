"""An answer is there before its client gives up, or is no answer; what failed names its handle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from hostup_mcp.execution import outputs
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import Stream
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from tests.runner_harness import flow, refusing, starts, tools
from tests.scripted_api import ScriptedApi, json_answer
from tests.stdio_client import facts, text

LONG = json_answer({"exited": True, "exitCode": 0, "stdout": "x" * 100_000})


async def test_what_takes_long_to_prepare_is_told_when_it_is_ready(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = outputs._prepared_stream  # pyright: ignore[reportPrivateUsage]

    def slowly(stream: Stream, secret: str) -> Stream:
        time.sleep(2.5)
        return prepared(stream, secret)

    monkeypatch.setattr(outputs, "_prepared_stream", slowly)
    scripted.script = flow(lambda: LONG)
    async with tools(scripted, journal, client_name="mcp") as agent:
        began = time.monotonic()
        told = facts(await agent.exec())
        assert time.monotonic() - began < 5, "the client of this name gives up then"
        assert told["status"] == "running"
        assert "still being prepared" in told["notes"][0]
        found = journal.get(told["exec_id"])
        assert found
        assert found.read_at is None, "nobody was told of its end"
        again = facts(await agent.exec())
        assert again["exec_id"] == told["exec_id"]
        whole = facts(await agent.call("vps_exec_result", exec_id=told["exec_id"]))
        assert whole["stdout_bytes"] == 100_000
    assert starts(scripted) == 1


def full(journal: SqliteStore) -> Callable[..., Any]:
    return refusing(journal.output, 100)


def broken(_journal: SqliteStore) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a bug")

    return fail


@pytest.mark.parametrize(
    ("failing", "code"), [(full, "journal_failed"), (broken, "internal_error")]
)
async def test_what_fails_after_the_start_names_the_handle_and_warns_of_a_repeat(
    scripted: ScriptedApi,
    journal: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    failing: Callable[[SqliteStore], Callable[..., Any]],
    code: str,
) -> None:
    scripted.script = flow()
    async with tools(scripted, journal) as agent:
        with monkeypatch.context() as patch:
            patch.setattr(journal, "output", failing(journal))
            told = text(await agent.exec())
        assert told.startswith(f"{code}: The command was started")
        assert "do not run it again" in told
        handle = told.partition("exec_id: ")[2].partition("\n")[0]
        assert facts(await agent.call("vps_exec_result", exec_id=handle))["stdout"] == "out"


async def test_an_order_that_cannot_be_recorded_is_told_as_not_run(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "record_intent", refusing(journal.record_intent, 1))
    scripted.script = flow()
    async with tools(scripted, journal) as agent:
        told = text(await agent.exec())
    assert told.startswith(f"{JournalError.code}: ")
    assert "The command was not run." in told
    assert starts(scripted) == 0
