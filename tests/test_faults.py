"""What HostUp's words prove of a start that failed, and what they do not."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.execution import faults
from hostup_mcp.execution.faults import (
    AGENT_MISSING,
    BLOCKED,
    EXEC_DISABLED,
    GUEST_FROZEN,
    Fault,
)
from hostup_mcp.execution.journal.records import Completed, Ended
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.hostup.errors import ApiError, Conflict, Forbidden, InvalidRequest, ServerFailure
from tests.runner_harness import DONE, flow, order, running
from tests.scripted_api import ScriptedApi, json_answer

KINDS: dict[int, type[ApiError]] = {400: InvalidRequest, 403: Forbidden, 409: Conflict}


def error(status: int, detail: str) -> ApiError:
    kind = KINDS.get(status, InvalidRequest if status == 422 else ServerFailure)
    return kind("Failed.", "Try.", status=status, api_code="some_code", detail=detail)


@pytest.mark.parametrize(
    ("detail", "fault"),
    [
        ("Command guest-exec has been disabled", EXEC_DISABLED),
        ("Command guest-exec has been disabled: the command is not allowed", EXEC_DISABLED),
        ("The command guest-exec has been disabled for this instance", EXEC_DISABLED),
        ("Agent error: The command guest-exec has been disabled for this instance", EXEC_DISABLED),
        ("Command guest-exec has been disabled: the agent is in frozen state", GUEST_FROZEN),
        (
            "VM 101 qga command 'guest-exec' failed - Command guest-exec has been disabled: "
            "the agent is in frozen state\n",
            GUEST_FROZEN,
        ),
        ("QEMU guest agent is not running", AGENT_MISSING),
        ("The command could not be started (QEMU guest agent is not running).", AGENT_MISSING),
        ("No QEMU guest agent configured\n", AGENT_MISSING),
    ],
)
@pytest.mark.parametrize("status", [400, 409, 500, 502])
def test_a_sentence_that_proves_that_nothing_was_started(
    status: int, detail: str, fault: Fault
) -> None:
    assert faults.of_start(error(status, detail), "uptime") == ("not_started", fault)


@pytest.mark.parametrize(
    "detail",
    [
        "Execution of 'grep blocked /var/log/syslog' timed out after 30 s",
        "Task blocked: got timeout",
        "This command has been blocked for safety reasons",
        "Volume frozen? guest-exec got timeout",
        "The file system of node 7 is frozen",
        "Backup has been disabled",
        "The mail gateway's guest agent is not running here any longer",
        "VM 101 qga command 'guest-exec' failed - got timeout",
        "guest-exec got timeout: QEMU guest agent is not running",
        "Command guest-exec-status has been disabled: the agent is in frozen state",
        "Execution of 'echo x; the agent is in frozen state' was not answered",
    ],
)
@pytest.mark.parametrize("status", [409, 500, 504])
def test_a_word_proves_nothing_of_a_start(status: int, detail: str) -> None:
    sent = "echo x; the agent is in frozen state"
    kind, fault = faults.of_start(error(status, detail), sent)
    assert kind == "unknown"
    assert fault.message.startswith("It is not known whether the command ran. ")


@pytest.mark.parametrize("status", [400, 403, 422])
def test_hostup_blocks_a_command_before_it_runs(status: int) -> None:
    words = "This command has been blocked for safety reasons"
    assert faults.of_start(error(status, words), "shutdown") == ("not_started", BLOCKED)
    too_long = error(status, "Not valid: 'grep blocked x'")
    kind, fault = faults.of_start(too_long, "grep blocked x")
    assert (kind, fault.code) == ("not_started", too_long.code), "not HostUp's check"


SENTENCES = [
    "Command guest-exec has been disabled",
    "The command guest-exec has been disabled for this instance",
    "the agent is in frozen state",
    "QEMU  guest agent is\tnot running",
    "No QEMU guest agent configured",
    "blocked",
]
ECHOES: list[Callable[[str], str]] = [
    str, repr, json.dumps, shlex.quote, str.upper, lambda text: " ".join(text.split()),
]  # fmt: skip


@given(
    st.lists(st.sampled_from([*SENTENCES, ": ", "; ", ". ", "\n", " - ", "'", "x", "\\"])),
    st.sampled_from(ECHOES),
    st.integers(0, 120),
    st.sampled_from(["Execution of {} failed", "{}", "{}: no answer", "Got: {}. Sorry."]),
    st.sampled_from([409, 500, 502, 503, 504]),
)
def test_the_command_s_own_words_prove_nothing(
    parts: list[str], echo: Callable[[str], str], cut: int, frame: str, status: int
) -> None:
    command = "".join(["cat ", *parts])
    for told in (echo(command), echo(command)[:cut], echo(command[:cut])):
        assert faults.of_start(error(status, frame.format(told)), command)[0] == "unknown"


async def test_success_false_is_a_denial_and_ends_the_polling(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    gone = json_answer({"success": False, "message": "PID does not exist"})
    scripted.script = flow(lambda: gone)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(10)
    assert isinstance(job.execution.state, Ended)
    assert job.execution.state.kind == "lost"
    assert "HostUp says: PID does not exist." in job.execution.state.message


async def test_success_false_of_a_frozen_guest_is_no_denial(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    frozen = json_answer({"success": False, "message": "Agent error: the agent is in frozen state"})
    until = time.monotonic() + 1.5
    scripted.script = flow(lambda: DONE if time.monotonic() > until else frozen)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(8)
    assert isinstance(job.execution.state, Completed)
