"""What a VPS is, is looked up before its first command."""

from __future__ import annotations

import pytest

from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.hostup.errors import NotFound
from hostup_mcp.hostup.inventory import Inventory
from hostup_mcp.hostup.models import OperatingSystem, Vps
from tests.runner_harness import VPS, client_of, flow, starts, tools
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer
from tests.stdio_client import text

WINDOWS = OperatingSystem(display_name="Windows Server 2022")


def described(vps: Vps) -> Answer:
    return json_answer(vps.model_dump(by_alias=True))


async def test_a_windows_guest_is_refused(scripted: ScriptedApi, journal: SqliteStore) -> None:
    machine = described(Vps(id=VPS, operating_system=WINDOWS))
    scripted.describes_machines = False

    def script(request: Received) -> Answer:
        return machine if request.path.endswith(VPS) else flow()(request)

    scripted.script = script
    async with tools(scripted, journal) as client:
        assert text(await client.exec()).startswith("guest_unsupported: ")
    assert starts(scripted) == 0


async def test_a_vps_that_hostup_knows_by_another_id_is_unknown(scripted: ScriptedApi) -> None:
    scripted.describes_machines = False
    scripted.script = lambda _: described(Vps(id="vps_other"))
    with pytest.raises(NotFound, match="another id"):
        await Inventory(client_of(scripted.url)).get(VPS)


async def test_a_vps_is_looked_up_again_after_five_minutes(scripted: ScriptedApi) -> None:
    now = [0.0]
    scripted.describes_machines = False
    scripted.script = lambda _: described(Vps(id=VPS))
    inventory = Inventory(client_of(scripted.url), lambda: now[0])
    for seconds, asked in ((0.0, 1), (299.0, 1), (300.0, 2), (301.0, 2)):
        now[0] = seconds
        await inventory.get(VPS)
        assert len(scripted.received) == asked
