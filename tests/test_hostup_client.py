"""HostUp's client over a real socket: what a reply tells the pacer, and what it counts as."""

from __future__ import annotations

import anyio
import pytest
from pydantic import SecretStr

from hostup_mcp.execution.faults import denies
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import RateLimited, ServerFailure
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.pacer import Pacer, Turn
from hostup_mcp.hostup.pacing import RateLimit
from tests.runner_harness import KEY, wait_until
from tests.scripted_api import Answer, ScriptedApi, json_answer, problem


class Noting(Pacer):
    """Keeps what it was told last."""

    told: RateLimit | None = None

    def learn(self, turn: Turn, rate_limit: RateLimit, status: int) -> None:
        self.told = rate_limit
        super().learn(turn, rate_limit, status)


def client_of(api: ScriptedApi, pacer: Pacer) -> HostUpClient:
    return HostUpClient(HttpTransport(api.url, Timeouts()), SecretStr(KEY), pacer)


async def test_the_pacer_and_the_caller_are_told_the_same_limit(scripted: ScriptedApi) -> None:
    """Read at two moments, a date would be two different pauses."""
    scripted.always(
        json_answer(problem(429, "rate_limited"), 429, X_RateLimit_Reset="2999-01-01T00:00:00Z")
    )
    pacer = Noting()
    client = client_of(scripted, pacer)
    with pytest.raises(RateLimited) as caught:
        await client.get_status("vps_1")
    await client.aclose()
    assert pacer.told is not None
    assert pacer.told.retry_after
    assert caught.value.rate_limit is pacer.told


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ({"success": False, "message": "PID does not exist"}, "PID does not exist"),
        ({"success": False, "error": "Invalid parameter 'pid'"}, "Invalid parameter 'pid'"),
        ({"success": False, "exited": None, "stdout": "", "detail": "Gone."}, "Gone."),
        ({"success": False, "message": "Gone", "data": {}}, "Gone"),
        ({"success": False, "message": {"code": 7}}, ""),
        ({"success": False}, ""),
    ],
)
async def test_a_poll_that_did_not_succeed_is_an_error_with_hostup_s_words(
    scripted: ScriptedApi, document: object, detail: str
) -> None:
    scripted.always(json_answer(document))
    client = client_of(scripted, Pacer())
    with pytest.raises(ServerFailure) as caught:
        await client.get_command("vps_1", 7)
    await client.aclose()
    assert (caught.value.status, caught.value.detail) == (200, detail)
    assert detail.rstrip(".") in caught.value.message
    assert denies(caught.value)


@pytest.mark.parametrize(
    ("document", "exited"),
    [
        ({"success": False, "exited": False}, False),
        ({"success": False, "exited": True, "exitCode": 1}, True),
        ({"success": False, "exitCode": 1, "message": "Command failed"}, True),
        ({"success": False, "stderr": "no such file\n"}, True),
        ({"success": False, "data": {"exited": True}}, True),
        ({"success": True, "message": "Still running"}, False),
    ],
)
async def test_a_state_is_a_state_also_of_a_command_that_did_not_succeed(
    scripted: ScriptedApi, document: object, exited: bool
) -> None:
    scripted.always(json_answer(document))
    client = client_of(scripted, Pacer())
    assert (await client.get_command("vps_1", 7)).exited is exited
    await client.aclose()


async def test_a_vps_that_hangs_holds_up_no_other(scripted: ScriptedApi) -> None:
    hanging = Answer(200, b'{"exited": false}', delay=60)
    well = json_answer({"data": []})
    scripted.script = lambda request: hanging if "bad" in request.path else well
    client = client_of(scripted, Pacer())
    await client.get_status("vps_good")
    async with anyio.create_task_group() as tasks:
        for pid in range(1, 30):
            tasks.start_soon(client.get_command, "vps_bad", pid)
        tasks.start_soon(client.get_status, "vps_bad")
        tasks.start_soon(client.get_availability, "vps_bad")
        tasks.start_soon(client.start_command, "vps_bad", "uptime")
        await wait_until(lambda: sum("bad" in it.path for it in scripted.received) == 4)
        with anyio.fail_after(10):
            await client.get_status("vps_good")
            await client.start_command("vps_good", "uptime")
            await client.list_vps()
        assert sum("bad" in it.path for it in scripted.received) == 4
        tasks.cancel_scope.cancel()
    await client.aclose()


async def test_large_results_that_wait_for_their_place_hold_up_nobody(
    scripted: ScriptedApi,
) -> None:
    """The place may be held by a result that waits for a start on the same VPS."""
    large = json_answer({"exited": True, "stdout": "x" * (2 * 1024 * 1024)})
    scripted.script = lambda request: large if "pid=" in request.path else json_answer({"pid": 99})
    client = client_of(scripted, Pacer())
    waiting: list[int] = []
    place = anyio.Event()
    read: list[int] = []

    async def poll(pid: int) -> None:
        async def wait() -> None:
            waiting.append(pid)
            await place.wait()

        state = await client.get_command("vps_1", pid, wait)
        read.append(len(state.stdout))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for pid in range(1, 7):
                tasks.start_soon(poll, pid)
            await wait_until(lambda: len(waiting) == 6)
            assert (await client.start_command("vps_1", "uptime")).pid == 99
            assert not read
            place.set()
    assert read == [2 * 1024 * 1024] * 6
    await client.aclose()
