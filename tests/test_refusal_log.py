"""Each refused command leaves a line in the log: bounded, escaped, without secrets."""

from __future__ import annotations

import logging

import pytest

from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.server.refusal_log import RefusalLog
from hostup_mcp.server.service import Caller, CallLimits, ToolService
from tests.runner_harness import POLICIES, client_of, running
from tests.scripted_api import ScriptedApi

KEY = "hk_live_0123456789"


def note(log: RefusalLog, command: str = "reboot", principal: str = "local") -> None:
    log.note(principal, "vps_1", command, "changes", "diagnostics@0")


def test_one_line_and_the_command_at_info_only(caplog: pytest.LogCaptureFixture) -> None:
    line = 'refused: principal="local" vps="vps_1" code="changes" policy="diagnostics@0"'
    with caplog.at_level(logging.WARNING):
        note(RefusalLog(KEY))
    assert caplog.messages == [line]
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    with caplog.at_level(logging.INFO):
        note(
            RefusalLog(KEY), f"curl -H 'X: {KEY}'\n\x1b[31mfake\x7f; PASSWORD=hunter22" + "x" * 9000
        )
    (shown,) = caplog.messages
    assert shown.startswith(line + " command=")
    assert KEY not in shown
    assert "hunter22" not in shown
    assert shown.isprintable()
    assert shown.isascii()
    assert len(shown) < 800


def test_the_rate_is_bounded_for_each_principal(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = RefusalLog(clock=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            note(log)
        assert len(caplog.messages) == 21
        assert "counted, not logged" in caplog.messages[-1]
        note(log, principal="alice")
        assert len(caplog.messages) == 22
        now[0] = 10.0
        note(log)
    assert caplog.messages[-1].endswith("; 980 more were not logged")


async def test_every_refusal_of_a_call_leaves_one(
    scripted: ScriptedApi, journal: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(*_: object) -> None:
        pass

    caller = Caller(send=send, principal="alice")
    client = client_of(scripted.url)
    async with running(scripted, journal, client=client) as runner:
        service = ToolService(client, runner, POLICIES, CallLimits())
        with caplog.at_level(logging.WARNING):
            for arguments in (
                {"vps_id": "vps_1", "command": "reboot"},
                {"vps_id": "vps_1", "command": "df $(id)"},
                {"vps_id": "vps_1", "command": 5},
                {"command": "df"},
            ):
                await service.call("vps_exec", arguments, caller)
            await service.call("vps_exec_result", {}, caller)
    codes = [m.split("code=")[1].split()[0] for m in caplog.messages if "refused:" in m]
    assert codes == ['"changes"', '"substitution"', '"argument_invalid"', '"argument_invalid"']
    assert all('principal="alice"' in m for m in caplog.messages)
    assert "reboot" not in caplog.text
