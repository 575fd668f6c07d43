"""The runner: what it sends, what it waits for, and what it tells."""

from __future__ import annotations

import json
import time

import anyio

from hostup_mcp.execution.journal.records import (
    Completed,
    Ended,
    Running,
)
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.policy.shell.emit import PROLOGUE
from tests.runner_harness import (
    DONE,
    VPS,
    after_boot,
    flow,
    followed,
    order,
    running,
    tools,
    wrote,
)
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem
from tests.stdio_client import facts, text


def _sent(body: str) -> bytes:
    return json.dumps({"command": PROLOGUE + body}).encode()


async def test_the_request_carries_the_key_and_the_judged_text(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order("  uname \t -a\n"))
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)
    probe, post, poll = scripted.received
    assert (probe.method, probe.path) == ("GET", "/api/v2/vps/vps_1/agent/exec")
    assert (post.method, post.body) == ("POST", _sent("uname -a"))
    assert poll.path == "/api/v2/vps/vps_1/agent/exec?pid=7"
    for request in scripted.received:
        assert request.headers["Authorization"] == "Bearer some_key_123"


async def test_what_was_not_sent_when_the_caller_left_is_not_sent(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(probe_delay=0.3)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await anyio.sleep(0.1)
        job.abandon()
        with anyio.fail_after(5):
            await job.done.wait()
    assert isinstance(job.execution.state, Ended)
    assert (job.execution.state.kind, job.execution.state.code) == ("not_started", "cancelled")
    assert [request.method for request in scripted.received] == ["GET"]


async def test_closing_lets_a_request_under_way_end_and_keeps_its_result(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: Answer(200, DONE.body, delay=0.5))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        while job.polls == 0:  # noqa: ASYNC110 - the runner has no event for it
            await anyio.sleep(0.01)
    found = journal.get(job.execution.exec_id)
    assert found
    assert wrote(journal, found) == "out"


async def test_closing_does_not_wait_for_a_command_that_goes_on(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: json_answer({"exited": False}))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(0)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    found = journal.get(job.execution.exec_id)
    assert found
    assert isinstance(found.state, Running)


async def test_a_rate_limit_while_polling_is_waited_for(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="1")
    answers = iter([limited, DONE])
    times: list[float] = []

    def poll() -> Answer:
        times.append(time.monotonic())
        return next(answers)

    scripted.script = flow(poll)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5, ask_now=True)
    assert isinstance(job.execution.state, Completed)
    assert times[1] - times[0] >= 1


async def test_a_denial_must_last_before_a_result_is_lost(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    gone = json_answer(problem(404, "not_found"), 404)
    answers = iter([gone, gone, json_answer({"exited": False}), gone, gone, DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_an_outage_never_makes_a_result_lost(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    until = time.monotonic() + 1.5
    broken = Answer(503, b"<html>")
    scripted.script = flow(lambda: DONE if time.monotonic() > until else broken)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_a_foreign_result_is_kept_and_a_wrong_guess_leaves_no_trace(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    answers = iter([json_answer(problem(404, "not_found"), 404), DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        wrong = await followed(runner, 99)
        await wrong.wait(5)
        assert wrong.problem
        assert wrong.problem.code == "pid_unknown"
        assert journal.find(VPS, 99) is None
        job = await followed(runner, 99)
        await job.wait(5)
        assert isinstance(job.execution.state, Completed)
        again = await followed(runner, 99)
        assert again.execution == job.execution == journal.find(VPS, 99)


async def test_many_who_ask_for_one_foreign_pid_share_one_poller(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    answers = iter([json_answer({"exited": False}), DONE])
    gone = json_answer(problem(404, "not_found"), 404)
    scripted.script = flow(lambda: next(answers, gone))
    found: list[object] = []
    async with running(scripted, journal) as runner:

        async def ask() -> None:
            job = await followed(runner, 99)
            await job.wait(5)
            found.append(job.execution)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)
    assert len(found) == 8
    assert all(execution == found[0] for execution in found)
    assert len(scripted.received) == 2


async def test_callers_of_one_execution_share_one_poller(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    answers = iter([json_answer({"exited": False})] * 2 + [DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        first, _ = await runner.start(order())
        second = await runner.resume(first.execution)
        assert second is first
        await first.wait(5)
    assert isinstance(first.execution.state, Completed)
    assert len(scripted.received) == 5


async def test_a_lost_result_that_turns_up_is_kept(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    """A guest that is frozen for a backup denies its results and has them afterwards."""
    now: Answer = json_answer(problem(500, "internal_error"), 500)
    scripted.script = flow(lambda: now)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5)
        assert isinstance(job.execution.state, Ended)
        assert job.execution.state.kind == "lost"
        again = await runner.resume(job.execution)
        await again.wait(5)
        assert again.execution == job.execution, "denied again, at once"
        now = json_answer({"exited": False})
        again = await runner.resume(job.execution)
        await again.wait(0, ask_now=True)
        assert isinstance(again.execution.state, Running)
        now = DONE
        await again.wait(5)
    assert isinstance(again.execution.state, Completed)


async def test_a_frozen_guest_is_not_a_denial(scripted: ScriptedApi, journal: SqliteStore) -> None:
    frozen = json_answer(
        problem(500, "internal_error", "Command has been disabled: the agent is in frozen state"),
        500,
    )
    until = time.monotonic() + 1.5
    scripted.script = flow(lambda: DONE if time.monotonic() > until else frozen)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(8)
    assert isinstance(job.execution.state, Completed)


async def test_a_retry_after_of_a_day_is_obeyed_only_up_to_the_limit(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="86400")
    answers = iter([limited, DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(6)
    assert isinstance(job.execution.state, Completed)


async def test_a_reply_that_cannot_be_read_may_have_held_the_result(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    replies = iter([Answer(200, b"{"), *[json_answer(problem(404, "not_found"), 404)] * 100])
    scripted.script = flow(lambda: next(replies))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(10)
    assert isinstance(job.execution.state, Ended)
    assert job.execution.state.kind == "lost"
    assert job.execution.state.message.startswith(
        "The command was started, but HostUp no longer has its result: a reply "
        "that may have held it "
    )


async def test_a_rate_limit_that_others_met_is_named_to_who_must_wait(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="30")
    replies = iter([limited])
    scripted.script = flow(lambda: next(replies, DONE))
    async with tools(scripted, journal, longest_wait=60) as agent:
        held = await agent.exec("df -h", wait_seconds=2)
        assert text(held).startswith("hostup_rate_limited: ")
        told = await agent.exec(wait_seconds=0)
        assert facts(told)["status"] == "running"
        assert facts(told)["next_poll_seconds"] >= 20
        assert "HostUp's rate limit blocks all requests for" in text(told)
        assert any("rate limit" in note for note in facts(told)["notes"])


async def test_an_execution_has_a_connection_to_itself_and_each_later_poll_a_new_one(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    replies = iter([json_answer({"exited": False})] * 2)
    scripted.script = flow(lambda: next(replies, DONE))
    async with tools(scripted, journal) as agent:
        facts(await agent.exec())
    probe, start, *asked = (request.client_port for request in scripted.received)
    assert probe == start == asked[0]
    assert len({*asked}) == len(asked) == 3


async def test_a_connection_that_met_anything_but_success_is_not_used_again(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="1")
    starts = iter([limited])

    def script(request: Received) -> Answer:
        if request.method == "POST":
            return next(starts, json_answer({"pid": 7}))
        return flow()(request)

    scripted.script = script
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(8)
    assert isinstance(job.execution.state, Completed)
    first, second = (r.client_port for r in scripted.received if r.method == "POST")
    assert first != second


async def test_a_reason_that_cannot_be_encoded_is_no_crash(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = lambda _: json_answer({"available": False, "reason": "\ud800 broken"})
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    assert "\ufffd broken" in job.execution.state.message


async def test_a_slow_probe_and_a_question_share_one_deadline(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(probe_delay=1.5)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        began = time.monotonic()
        await job.wait(0, ask_now=True)
        assert time.monotonic() - began < 5
    assert job.done.is_set() or isinstance(job.execution.state, Running)


async def test_the_hour_of_asking_again_counts_from_the_loss(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    gone = json_answer(problem(404, "not_found"), 404)
    answer = gone
    scripted.script = flow(lambda: answer)
    began = time.time()
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    answer = DONE
    scripted.script = after_boot(100_000, lambda: answer)
    for age, state in ((7200, Ended), (3000, Completed)):
        scripted.received.clear()
        async with running(scripted, journal, lambda: began + age) as runner:  # noqa: B023
            again = await runner.resume(job.execution)
            await again.wait(5)
            assert isinstance(again.execution.state, state)
