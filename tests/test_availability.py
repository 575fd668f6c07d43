"""Why a command cannot run: each case has its own code, sentence and next step."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from hostup_mcp.execution.availability import Availability
from hostup_mcp.execution.journal.records import Ended
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.hostup.errors import ServerFailure
from hostup_mcp.hostup.models import Vps
from tests.runner_harness import (
    VPS,
    Script,
    client_of,
    flow,
    order,
    polls,
    running,
    starts,
    tools,
)
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem
from tests.stdio_client import facts, text

READY = json_answer({"available": True})


def unavailable(probe: dict[str, Any], status: dict[str, Any] | Answer) -> Script:
    """A VPS that takes no commands, and what HostUp has to say of its state."""

    def script(request: Received) -> Answer:
        if request.path.endswith("/status"):
            return status if isinstance(status, Answer) else json_answer(status)
        return json_answer({"available": False, **probe})

    return script


# ------------------------------------------------------------------ the VPS is in the way

RUNNING = {"powerState": "running"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any] | Answer, str, str]] = {
    "off": ({"vmRunning": False}, {"powerState": "stopped"}, "vps_off: The VPS is off.", "Start"),
    "off, by the probe alone": ({"vmRunning": False}, Answer(502), "vps_off: ", "Start the VPS"),
    "off, by the status alone": ({}, {"powerState": "stopped"}, "vps_off: ", "Start the VPS"),
    "stopping": ({}, {"powerState": "stopping"}, "vps_off: The VPS is shutting", "Start the VPS"),
    "paused": ({}, {"powerState": "paused"}, "vps_off: The VPS is paused.", "Resume the VPS"),
    "starting": ({}, {"powerState": "starting"}, "vps_starting: ", "Try again in a minute."),
    "set up": ({}, {"powerState": "provisioning"}, "vps_starting: ", "Try again in a few minutes"),
    "failed": ({}, {"powerState": "error"}, "vps_failed: ", "Ask HostUp's support."),
    "agent missing": ({}, RUNNING, "agent_missing: The VPS is on, but ", "install qemu-guest"),
    "agent missing, in words": (
        {"reason": "QEMU guest agent is not running"}, Answer(500), "agent_missing: ", "systemctl",
    ),
    "agent not configured": (
        {"reason": "No QEMU guest agent configured"}, RUNNING, "agent_missing: ", "install qemu",
    ),
    "exec disabled": (
        {"reason": "Command guest-exec has been disabled"}, RUNNING,
        "exec_disabled: The guest agent answers but runs no commands",
        "/etc/sysconfig/qemu-ga",
    ),
    "frozen": (
        {"reason": "Command guest-exec has been disabled: the agent is in frozen state"}, RUNNING,
        "guest_frozen: The file systems of the VPS are frozen", "Try again in a minute or two.",
    ),
    "nothing known": (
        {}, Answer(500), "vps_unavailable: The VPS accepts no commands now.", "Start",
    ),
    "unknown words": (
        {"reason": "because."}, {"powerState": "odd"},
        "vps_unavailable: The VPS accepts no commands now. HostUp says: because. The", "Start",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_a_vps_that_takes_no_commands_is_asked_about_once(
    scripted: ScriptedApi, journal: SqliteStore, name: str
) -> None:
    probe, status, said, advice = CASES[name]
    scripted.script = unavailable(probe, status)
    async with tools(scripted, journal) as client:
        result = await client.exec()
    assert result.is_error
    first, *rest = text(result).splitlines()
    assert first.startswith(said)
    assert "The command was not run." in first
    assert advice in first
    assert "status: not_started" in rest
    paths = [request.path.rpartition("/")[2] for request in scripted.received]
    assert paths == ["exec", "status"]


@pytest.mark.parametrize("status", ["suspended", "terminated", "cancelled", "expired", "fraud"])
async def test_a_vps_that_is_not_in_service(
    scripted: ScriptedApi, journal: SqliteStore, status: str
) -> None:
    scripted.script = unavailable({"vmRunning": False}, {"powerState": "stopped"})
    async with running(scripted, journal) as runner:
        fault = await runner.availability.check(VPS, status)
    assert fault
    assert fault.code == "vps_suspended"
    assert fault.message == f"The VPS is not in service: HostUp gives its status as {status}."
    assert fault.advice == "The owner should look at the order and its payment at HostUp."


async def test_the_service_is_known_from_the_look_up_before_the_command(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    suspended = Vps(id=VPS, service_status="suspended").model_dump(by_alias=True)

    def script(request: Received) -> Answer:
        if request.path.endswith(VPS):
            return json_answer(suspended)
        return unavailable({}, {"powerState": "stopped"})(request)

    scripted.describes_machines = False
    scripted.script = script
    async with tools(scripted, journal) as client:
        assert text(await client.exec()).startswith("vps_suspended: ")


# ------------------------------------------------------------------ what is remembered


async def test_a_yes_is_kept_for_seconds_and_a_no_for_one_call(scripted: ScriptedApi) -> None:
    now = 0.0
    client = client_of(scripted.url)
    availability = Availability(client, lambda: now)

    async def asks(vps_id: str = VPS) -> int:
        scripted.received.clear()
        await availability.check(vps_id)
        return len(scripted.received)

    scripted.script = lambda _: READY
    assert [await asks(), await asks()] == [1, 0]
    assert await asks("vps_2") == 1, "each VPS for itself"
    now = 9.9
    assert await asks() == 0
    availability.forget(VPS)
    assert await asks() == 1
    now = 30.0
    scripted.script = unavailable({}, RUNNING)
    assert [await asks(), await asks()] == [2, 0]
    now = 31.1
    assert await asks() == 2
    await client.aclose()


async def test_a_probe_without_an_answer_is_no_answer(scripted: ScriptedApi) -> None:
    client = client_of(scripted.url)
    availability = Availability(client)
    scripted.always(Answer(503))
    for _ in range(2):
        with pytest.raises(ServerFailure):
            await availability.check(VPS)
    assert len(scripted.received) == 2
    await client.aclose()


async def test_the_probe_costs_one_request_for_many_commands_and_a_failure_brings_it_back(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    async with tools(scripted, journal) as client:
        for command in ("uptime", "df -h", "uname -a"):
            assert facts(await client.exec(command))["exit_code"] == 0
        assert probes(scripted) == 1
        scripted.script = flow(start=Answer(500))
        assert (await client.exec("free")).is_error
        scripted.script = flow()
        assert facts(await client.exec("date"))["exit_code"] == 0
        assert probes(scripted) == 2


def probes(api: ScriptedApi) -> int:
    return sum(r.method == "GET" and r.path.endswith("/agent/exec") for r in api.received)


# ------------------------------------------------------------------ the start is refused

REFUSED: dict[str, tuple[Answer, str, str]] = {
    "frozen": (
        json_answer(problem(500, "internal_error", "agent is in frozen state"), 500),
        "guest_frozen: ", "Try again in a minute or two.",
    ),
    "disabled": (
        json_answer(problem(500, "internal_error", "guest-exec has been disabled"), 500),
        "exec_disabled: ", "/etc/sysconfig/qemu-ga",
    ),
    "blocked": (
        json_answer(problem(400, "invalid_request", "The command was blocked for safety."), 400),
        "command_blocked: HostUp's own safety check refused the command.", "Use another command",
    ),
    "agent gone": (
        json_answer(problem(409, "upstream_failed", "QEMU guest agent is not running"), 409),
        "agent_missing: ", "install qemu-guest-agent",
    ),
    "key wrong": (
        json_answer(problem(401, "unauthorized"), 401),
        "hostup_unauthorized: HostUp did not accept the API key", "check HOSTUP_API_KEY",
    ),
    "scope": (
        json_answer(problem(403, "forbidden"), 403),
        "hostup_forbidden: HostUp refused: the API key lacks the scope write:vm, which starting a "
        "command needs, or the VPS belongs to another account", "give the key the scope write:vm",
    ),
    "edge": (
        Answer(403, b"error code: 1010"),
        "hostup_edge_refused: HostUp's web edge refused the request", "not about the API key's sco",
    ),
    "not there": (
        json_answer(problem(404, "not_found"), 404), "hostup_not_found: HostUp has no such VPS or "
        "command, or this key may not see it", "Use a vps_id from list_vps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_start_that_is_refused_is_told_apart_and_not_made_again(
    scripted: ScriptedApi, journal: SqliteStore, name: str
) -> None:
    answer, said, advice = REFUSED[name]
    scripted.script = flow(start=answer)
    async with tools(scripted, journal) as client:
        result = await client.exec()
    assert text(result).startswith(said)
    assert "The command was not run." in text(result)
    assert advice in text(result)
    assert "status: not_started" in text(result)
    assert starts(scripted) == 1


async def test_the_scope_is_named_for_the_very_call(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    forbidden = json_answer(problem(403, "forbidden"), 403)
    lacks = "hostup_forbidden: {} the API key lacks the scope {}, which {} needs"
    for refused, said in (
        ("/api/v2/vps?", ("HostUp refused:", "read:vm", "listing VPSs")),
        ("/vps/vps_1", ("HostUp refused:", "read:vm", "looking up a VPS")),
        ("/exec", ("HostUp refused:", "read:vm", "asking whether a VPS accepts commands")),
        ("pid=7", ("The command was started, but its result cannot be read now. HostUp refused:",
                   "write:vm", "reading a command's result")),
    ):  # fmt: skip
        scripted.describes_machines = refused != "/vps/vps_1"
        scripted.script = lambda request, refused=refused: (
            forbidden
            if refused in request.path.removesuffix("x")
            and request.method == "GET"
            and (refused != "/exec" or request.path.endswith(refused))
            and (refused != "/vps/vps_1" or request.path.endswith(refused))
            else flow()(request)
        )
        async with tools(scripted, journal) as client:
            if refused == "/api/v2/vps?":
                result = await client.call("list_vps")
            else:
                result = await client.exec(idempotency_key=said[2].replace(" ", "-"))
        assert text(result).startswith(lacks.format(*said)), text(result)


# ------------------------------------------------------------------ it may pass


async def test_a_start_that_had_no_effect_is_made_again_within_its_time(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="1")
    answers = iter([limited, json_answer({"pid": 7})])
    scripted.script = lambda request: next(answers) if request.method == "POST" else flow()(request)
    async with tools(scripted, journal) as client:
        assert facts(await client.exec())["exit_code"] == 0
    assert starts(scripted) == 2


async def test_a_rate_limit_that_outlasts_it_says_until_when(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="42")
    scripted.script = flow(start=limited)
    async with tools(scripted, journal) as client:
        result = await client.exec()
    assert text(result).startswith("hostup_rate_limited: HostUp's rate limit is reached")
    assert "The command was not run. Try again in 42 seconds, not sooner." in text(result)
    assert starts(scripted) == 1


async def test_a_host_that_is_not_there_is_tried_a_few_times(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    client = client_of(f"http://127.0.0.1:{port}")
    async with running(scripted, journal, client=client) as runner:
        job, _ = await runner.start(order())
        await job.wait(20)
    assert isinstance(job.execution.state, Ended)
    state = job.execution.state
    assert (state.kind, state.code) == ("not_started", "hostup_unreachable")
    assert state.advice == "Check the network and hostup.base_url, then try again."


@pytest.mark.parametrize("answer", [Answer(hang_up=True), Answer(502), Answer(200, b"{}")])
async def test_a_start_that_may_have_had_an_effect_is_never_made_again(
    scripted: ScriptedApi, journal: SqliteStore, answer: Answer
) -> None:
    scripted.script = flow(start=answer)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(20)
    assert isinstance(job.execution.state, Ended)
    assert job.execution.state.kind == "unknown"
    assert (starts(scripted), polls(scripted)) == (1, 0)
