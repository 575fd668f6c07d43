"""HostUp's client over a real socket: what a reply tells the pacer, and what it counts as."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import RateLimited
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.pacer import Pacer, Turn
from hostup_mcp.hostup.pacing import RateLimit
from tests.runner_harness import KEY
from tests.scripted_api import ScriptedApi, json_answer, problem


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
