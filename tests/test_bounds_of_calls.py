"""What a call and a principal are kept to, whatever HostUp takes."""

from __future__ import annotations

import time
from dataclasses import replace

from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.server.service import CallLimits, ToolService
from tests.runner_harness import GOES_ON, POLICIES, client_of, flow, running, starts, tools
from tests.scripted_api import Answer, ScriptedApi, json_answer
from tests.stdio_client import facts, text


async def test_a_list_that_does_not_come_is_an_error_before_the_client_gives_up(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = lambda _: Answer(200, json_answer({"data": []}).body, delay=1.9)
    async with tools(scripted, journal, client_name="inspector-client") as agent:
        assert facts(await agent.call("list_vps"))["vps"] == []
    limits = CallLimits(client_seconds=2)
    client = client_of(scripted.url)
    async with running(scripted, journal, client=client) as runner:
        service = ToolService(client, runner, POLICIES, limits)
        began = time.monotonic()
        told = await replace(agent, service=service).call("list_vps")
        assert time.monotonic() - began < 1.9
    assert text(told).startswith("hostup_timeout: HostUp did not give the list in time.")


async def test_a_principal_has_so_many_commands_unfinished_and_others_theirs(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: GOES_ON)
    client = client_of(scripted.url)
    async with running(scripted, journal, client=client) as runner:
        service = ToolService(client, runner, POLICIES, CallLimits(commands_at_once=1))
        async with tools(scripted, journal) as any_agent:
            agent = replace(any_agent, service=service)
            facts(await agent.exec(wait_seconds=0))
            refused = text(await agent.exec("df -h", wait_seconds=0))
            assert refused.startswith("too_many_commands: You already have 1 unfinished commands")
            assert "execution.commands_at_once" in refused
            other = replace(agent, principal="another")
            facts(await other.exec("df -h", wait_seconds=0))
    assert starts(scripted) == 2
