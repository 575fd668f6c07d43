"""doctor: each broken state has its own row, with the next step, and nothing is touched."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from pydantic import SecretStr

from hostup_mcp.cli.doctor import fleet as doctor_fleet
from hostup_mcp.cli.doctor.bounded import within, within_loop
from hostup_mcp.cli.doctor.fleet import NO_PID
from hostup_mcp.cli.doctor.report import Check, as_json, as_table, exit_code
from hostup_mcp.cli.doctor.run import run_checks
from hostup_mcp.execution.journal.sqlite.schema import VERSION
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.models import OperatingSystem
from hostup_mcp.sandbox.api import SandboxVps
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import AbsentGuest, Exit, Guest, LocalGuest, UnknownPid
from hostup_mcp.sandbox.machines import DB, MAIL, WEB, fleet
from tests.scripted_api import Answer, Received, Script, ScriptedApi, json_answer, problem

KEY = "hk_live_0123456789abcdef"
LOCAL = ["configuration", "policy", "journal", "http_token"]
CONTACT = ["reachability", "tls", "edge", "answer", "clock", "rate_limit", "key", "read:vm"]
ROWS = [*LOCAL, *CONTACT, "write:vm", "vps_list"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder: not there yet."""
    return tmp_path / "state"


def examine(base_url: str, key: str, state: Path, **more: str) -> list[Check]:
    environ = {"HOSTUP_BASE_URL": base_url, "HOSTUP_MCP_STATE_DIR": str(state), **more}
    if key:
        environ["HOSTUP_API_KEY"] = key
    checks = run_checks({}, None, environ)
    assert [check.check for check in checks][: len(ROWS)] == ROWS
    for check in checks:
        assert check.found
        assert bool(check.advice) == bool(check.code) == (check.status in ("warn", "fail")), check
    if key:
        assert key not in as_json(checks) + as_table(checks, 100)
    return checks


def row(checks: list[Check], name: str, subject: str = "") -> Check:
    (found,) = (check for check in checks if (check.check, check.subject) == (name, subject))
    return found


def statuses(checks: list[Check]) -> Mapping[str, str]:
    return {check.check: check.status for check in checks if not check.subject}


def one_vps(guest: Guest, **more: Any) -> Sandbox:
    vps = fleet(guest)[0].vps.model_copy(update=more)
    return Sandbox([SandboxVps(vps, guest)], rate_limit=1_000_000)


# ------------------------------------------------------------------ all well


def test_all_well(state: Path) -> None:
    with one_vps(LocalGuest()) as sandbox:
        checks = examine(sandbox.base_url, sandbox.api_key, state)
    assert {check.status for check in checks} == {"ok"}
    assert exit_code(checks) == 0
    assert row(checks, "vps", WEB).found == f"web-1 ({WEB}): ready, its guest agent answers."
    assert not state.exists(), "it makes nothing"


def test_a_real_guest_agent_is_ready_and_has_no_such_pid(qga_sandbox: Sandbox, state: Path) -> None:
    checks = examine(qga_sandbox.base_url, qga_sandbox.api_key, state)
    assert row(checks, "vps", WEB).status == "ok"
    assert row(checks, "write:vm").status == "ok"


async def test_no_command_is_started_and_no_result_taken(sandbox: Sandbox, state: Path) -> None:
    client = HostUpClient(HttpTransport(sandbox.base_url, Timeouts()), SecretStr(sandbox.api_key))
    started = await client.start_command(WEB, "echo kept")
    assert started.pid
    assert row(examine(sandbox.base_url, sandbox.api_key, state), "vps", WEB).status == "ok"
    result = await client.get_command(WEB, started.pid)
    for _ in range(500):
        if result.exited:
            break
        await anyio.sleep(0.02)
        result = await client.get_command(WEB, started.pid)
    assert result.stdout == "kept\n"
    await client.aclose()


def test_only_reads_are_sent(scripted: ScriptedApi, state: Path) -> None:
    scripted.script = listing([{"id": "vps_a"}, {"id": "vps_b"}])
    examine(scripted.url, KEY, state)
    assert {request.method for request in scripted.received} == {"GET"}
    asked = sorted(request.path for request in scripted.received)
    assert asked == sorted(
        ["/api/v2/vps?limit=100"]
        + [f"/api/v2/vps/vps_{x}/agent/exec{q}" for x in "ab" for q in ("", f"?pid={NO_PID}")]
    )
    assert NO_PID > 2**22
    assert NO_PID % 4, "no pid of Windows"


# ------------------------------------------------------------------ the key


def test_no_key(sandbox: Sandbox, state: Path) -> None:
    checks = examine(sandbox.base_url, "", state)
    key = row(checks, "key")
    assert (key.status, key.code) == ("fail", "api_key_missing")
    assert "Set HOSTUP_API_KEY or HOSTUP_API_KEY_FILE" in key.advice
    assert [name for name, status in statuses(checks).items() if status == "not_made"] == [
        *("read:vm", "write:vm", "vps_list")
    ]
    assert row(checks, "reachability").found.endswith("(HTTP 401).")
    assert exit_code(checks) == 1


def test_a_wrong_key(sandbox: Sandbox, state: Path) -> None:
    checks = examine(sandbox.base_url, KEY, state)
    key = row(checks, "key")
    assert (key.status, key.code) == ("fail", "hostup_unauthorized")
    assert "check HOSTUP_API_KEY" in key.advice
    assert [check.check for check in checks if check.status == "fail"] == ["key"]


def test_a_key_that_may_only_read(sandbox: Sandbox, state: Path) -> None:
    checks = examine(sandbox.base_url, sandbox.read_key, state)
    scope = row(checks, "write:vm")
    assert (scope.status, scope.code) == ("fail", "hostup_forbidden")
    assert "the scope write:vm" in scope.found
    assert "give the key the scope write:vm" in scope.advice
    assert statuses(checks)["read:vm"] == "ok"
    assert row(checks, "vps", WEB).status == "ok"


def test_a_key_that_may_not_read(scripted: ScriptedApi, state: Path) -> None:
    scripted.always(json_answer(problem(403, "forbidden"), 403))
    checks = examine(scripted.url, KEY, state)
    scope = row(checks, "read:vm")
    assert (scope.status, scope.code) == ("fail", "hostup_forbidden")
    assert "give the key the scope read:vm" in scope.advice
    assert statuses(checks)["key"] == "ok"
    assert statuses(checks)["write:vm"] == "not_made"


def test_the_scope_is_told_from_a_vps_that_is_off_where_none_is_ready(state: Path) -> None:
    with one_vps(AbsentGuest("VM is not running", vm_running=False)) as sandbox:
        assert statuses(examine(sandbox.base_url, sandbox.api_key, state))["write:vm"] == "ok"
        checks = examine(sandbox.base_url, sandbox.read_key, state)
        assert statuses(checks)["write:vm"] == "fail"


@pytest.mark.parametrize("status", [400, 422, 429, 502])
def test_what_may_come_before_scopes_are_looked_at_tells_nothing(
    scripted: ScriptedApi, state: Path, status: int
) -> None:
    odd = Answer(502) if status == 502 else json_answer(problem(status, "some_code"), status)
    scripted.script = listing([{"id": "vps_a"}], odd)
    checks = examine(scripted.url, KEY, state)
    assert statuses(checks)["write:vm"] == "not_made"
    assert row(checks, "vps", "vps_a").status == "ok"


# ------------------------------------------------------------------ the way to HostUp


def test_an_unreachable_host(state: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    checks = examine(f"https://127.0.0.1:{port}", KEY, state)
    reach = row(checks, "reachability")
    assert (reach.status, reach.code) == ("fail", "hostup_unreachable")
    assert "hostup.base_url" in reach.advice
    later = statuses(checks)
    assert {later[name] for name in ROWS[5:]} == {"not_made"}


def test_tls_that_cannot_be_trusted(state: Path) -> None:
    context_ = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context_)  # pyright: ignore[reportUnknownMemberType]
    with ScriptedApi(context_) as api:
        checks = examine(api.url, KEY, state)
        assert api.received == []
    tls = row(checks, "tls")
    assert (tls.status, tls.code) == ("fail", "hostup_tls_failed")
    assert "certificate store" in tls.advice
    assert statuses(checks)["reachability"] == "ok"


def test_tls_that_is_trusted(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context_ = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context_)  # pyright: ignore[reportUnknownMemberType]
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    with ScriptedApi(context_) as api:
        api.script = listing([])
        checks = examine(api.url, KEY, state)
    tls = row(checks, "tls")
    assert (tls.status, tls.found) == ("ok", "The certificate is trusted and matches the host.")
    assert exit_code(checks) == 0


def test_the_edge_refuses(scripted: ScriptedApi, state: Path) -> None:
    scripted.always(Answer(403, b"error code: 1010"))
    checks = examine(scripted.url, KEY, state)
    edge = row(checks, "edge")
    assert (edge.status, edge.code) == ("fail", "hostup_edge_refused")
    assert "another network" in edge.advice
    assert statuses(checks)["reachability"] == "ok"
    assert {statuses(checks)[name] for name in ("answer", "key", "read:vm")} == {"not_made"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(302, headers={"Location": "https://x.example"}), "hostup_redirected"),
        (Answer(200, b"<html>"), "hostup_malformed_reply"),
        (Answer(502, b"<html>"), "hostup_server_error"),
        (json_answer(problem(404, "not_found"), 404), "hostup_not_found"),
    ],
)
def test_something_else_answers(
    scripted: ScriptedApi, state: Path, answer: Answer, code: str
) -> None:
    scripted.always(answer)
    checks = examine(scripted.url, KEY, state)
    assert row(checks, "answer").code == code
    assert [check.check for check in checks if check.status == "fail"] == ["answer"]


def test_a_host_that_does_not_answer_ends_the_check(scripted: ScriptedApi, state: Path) -> None:
    scripted.always(Answer(delay=60))
    start = time.monotonic()
    limit = {"HOSTUP_MCP__HOSTUP__READ_TIMEOUT_SECONDS": "1"}
    checks = examine(scripted.url, KEY, state, **limit)
    assert row(checks, "reachability").code == "hostup_timeout"
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("ahead", "status"), [(0, "ok"), (3, "ok"), (30, "warn"), (3600, "fail"), (-3600, "fail")]
)
def test_the_clock(scripted: ScriptedApi, state: Path, ahead: int, status: str) -> None:
    scripted.script = listing([])
    scripted.set_clock_ahead(ahead)
    clock = row(examine(scripted.url, KEY, state), "clock")
    assert clock.status == status
    if status == "fail":
        assert ("behind" if ahead > 0 else "ahead of") in clock.found
        assert "timedatectl set-ntp true" in clock.advice


def test_a_reply_without_a_date(state: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(65_536)
                body = b'{"data": []}'
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                connection.recv(65_536)

        thread = threading.Thread(target=answer)
        thread.start()
        checks = examine(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY, state)
        thread.join()
    assert row(checks, "clock").status == "not_made"
    assert row(checks, "answer").status == "ok"


def test_the_rate_limit_is_reached(scripted: ScriptedApi, state: Path) -> None:
    refused = json_answer(problem(429, "rate_limit_exceeded"), 429, Retry_After="17")
    scripted.always(refused)
    limit = row(examine(scripted.url, KEY, state), "rate_limit")
    assert (limit.status, limit.code) == ("fail", "hostup_rate_limited")
    assert limit.advice == "Try again in 17 seconds, not sooner."


@pytest.mark.parametrize(("left", "status"), [("500", "ok"), ("3", "warn"), ("many", "ok")])
def test_what_is_left_of_the_rate_limit(
    scripted: ScriptedApi, state: Path, left: str, status: str
) -> None:
    headers = {
        "X-RateLimit-Limit": "600",
        "X-RateLimit-Remaining": left,
        "X-RateLimit-Reset": "2026-04-27T12:34:56.000Z",
    }
    scripted.always(Answer(200, b'{"data": []}', headers))
    limit = row(examine(scripted.url, KEY, state), "rate_limit")
    assert limit.status == status
    said = "HostUp did not say" if left == "many" else f"{left} of 600 requests until 12:34:56 UTC"
    assert limit.found.startswith(said)


# ------------------------------------------------------------------ the VPSs


def listing(vpss: list[dict[str, Any]], command: Answer | None = None) -> Script:
    """A list of VPSs that are all available; what is asked of a pid gets `command`."""

    def script(request: Received) -> Answer:
        if "pid=" in request.path:
            return command or json_answer(problem(404, "not_found"), 404)
        if request.path.endswith("/agent/exec"):
            return json_answer({"available": True})
        return json_answer({"data": vpss})

    return script


def test_a_vps_that_is_off_and_one_without_an_agent(sandbox: Sandbox, state: Path) -> None:
    checks = examine(sandbox.base_url, sandbox.api_key, state)
    off, missing = row(checks, "vps", DB), row(checks, "vps", MAIL)
    assert (off.status, off.code) == ("warn", "vps_off")
    assert off.found.startswith(f"db-1 ({DB}): The VPS is off.")
    assert off.advice == "Start the VPS, then try again."
    assert (missing.status, missing.code) == ("fail", "agent_missing")
    assert "install qemu-guest-agent" in missing.advice
    assert exit_code(checks) == 1


class Disabled(LocalGuest):
    """An agent that answers a ping, and runs no commands: what RHEL's does."""

    async def read(self, pid: int) -> Exit | None:  # noqa: ARG002
        raise UnknownPid("Agent error: Command guest-exec-status has been disabled")


@pytest.mark.parametrize(
    "guest",
    [AbsentGuest("Command guest-exec has been disabled", vm_running=True), Disabled()],
    ids=["told by the probe", "told by the question for a result"],
)
def test_running_commands_is_disabled(guest: Guest, state: Path) -> None:
    with one_vps(guest) as sandbox:
        checks = examine(sandbox.base_url, sandbox.api_key, state)
    vps = row(checks, "vps", WEB)
    assert (vps.status, vps.code) == ("fail", "exec_disabled")
    assert "/etc/sysconfig/qemu-ga" in vps.advice
    assert statuses(checks)["write:vm"] == "ok"


def test_a_vps_with_windows(state: Path) -> None:
    system = OperatingSystem(display_name="Windows Server 2022")
    with one_vps(LocalGuest(), operating_system=system) as sandbox:
        vps = row(examine(sandbox.base_url, sandbox.api_key, state), "vps", WEB)
    assert (vps.status, vps.code) == ("warn", "guest_unsupported")


def test_a_vps_that_is_closed_by_the_policy_is_not_asked(
    scripted: ScriptedApi, state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[policy.vps]]\nvps = "db-*"\nclosed = true\n')
    scripted.script = listing([{"id": "vps_a", "name": "db-1"}, {"id": "vps_b", "name": "web"}])
    environ = {"HOSTUP_MCP_CONFIG": str(config)}
    checks = examine(scripted.url, KEY, state, **environ)
    assert row(checks, "configuration").found.startswith(f"{config}. ")
    assert "closed to commands by policy.vps[0].closed" in row(checks, "vps", "vps_a").found
    assert not any("vps_a" in request.path for request in scripted.received)


def test_a_vps_that_cannot_be_asked(scripted: ScriptedApi, state: Path) -> None:
    inner = listing([{"id": "vps_a"}, {"id": "vps_b"}])

    def script(request: Received) -> Answer:
        if "vps_a" in request.path:
            return json_answer(problem(500, "internal_error"), 500)
        return inner(request)

    scripted.script = script
    checks = examine(scripted.url, KEY, state)
    assert row(checks, "vps", "vps_a").code == "hostup_server_error"
    assert row(checks, "vps", "vps_b").status == "ok"


def test_a_vps_whose_answer_does_not_come_is_not_waited_for(
    scripted: ScriptedApi, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_fleet, "_VPS_SECONDS", 1.0)
    inner = listing([{"id": "vps_a"}, {"id": "vps_b"}])

    def script(request: Received) -> Answer:
        if "vps_a" in request.path:
            return Answer(delay=60)
        return inner(request)

    scripted.script = script
    checks = examine(scripted.url, KEY, state)
    late = row(checks, "vps", "vps_a")
    assert (late.status, late.code) == ("warn", "check_timeout")
    assert row(checks, "vps", "vps_b").status == "ok"


def test_pages_are_followed_and_bounded(
    scripted: ScriptedApi, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_fleet, "_PAGES_MAX", 4)
    monkeypatch.setattr(doctor_fleet, "_ASKED_MAX", 3)
    pages = iter(range(1000))
    inner = listing([])

    def script(request: Received) -> Answer:
        if not request.path.startswith("/api/v2/vps?"):
            return inner(request)
        number = next(pages)
        return json_answer({"data": [{"id": f"vps_{number}"}], "nextCursor": f"c{number}"})

    scripted.script = script
    checks = examine(scripted.url, KEY, state)
    assert row(checks, "vps_list").found == "VPSs: 5; the last 2 were not checked."
    assert [check.subject for check in checks if check.subject] == ["vps_0", "vps_1", "vps_2"]


def test_a_list_that_breaks_off(scripted: ScriptedApi, state: Path) -> None:
    inner = listing([])

    def script(request: Received) -> Answer:
        if "cursor=" in request.path:
            return Answer(502)
        if request.path.startswith("/api/v2/vps?"):
            return json_answer({"data": [{"id": "vps_a"}], "nextCursor": "next"})
        return inner(request)

    scripted.script = script
    checks = examine(scripted.url, KEY, state)
    assert row(checks, "vps_list").code == "hostup_server_error"
    assert row(checks, "vps", "vps_a").status == "ok"


def test_an_account_without_vpss(scripted: ScriptedApi, state: Path) -> None:
    scripted.script = listing([])
    checks = examine(scripted.url, KEY, state)
    assert (row(checks, "vps_list").code, exit_code(checks)) == ("no_vps", 0)


def test_names_cannot_act_on_a_terminal(scripted: ScriptedApi, state: Path) -> None:
    scripted.script = listing([{"id": "vps_\x1b[2J", "name": f"a\n\x1b]0;b\x07 \u202e{KEY}"}])
    checks = examine(scripted.url, KEY, state)
    shown = as_table(checks, 100) + as_json(checks)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "a ]0;b [redacted] (vps_ [2J): ready" in " ".join(as_table(checks, 500).split())


# ------------------------------------------------------------------ this machine


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[hostup]\nbase_url = 'http://cloud.hostup.se'\n")
    checks = run_checks({}, str(config), {"HOSTUP_API_KEY": KEY})
    assert [check.check for check in checks] == ROWS
    assert (checks[0].status, checks[0].code) == ("fail", "config_invalid")
    assert "hostup.base_url" in checks[0].found
    assert {check.status for check in checks[1:]} == {"not_made"}
    assert exit_code(checks) == 2


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("[[policy.rules]]\nargv = []\n", {}, "policy.rules"),
        ("", {"HOSTUP_API_KEY_FILE": "/nonexistent"}, "= /nonexistent cannot be read"),
        ("", {"HOSTUP_API_KEY": "two words"}, "(not shown)"),
        ("", {"HOSTUP_MCP_CONFIG": "/nonexistent"}, "file /nonexistent cannot be read"),
    ],
)
def test_other_configurations_that_cannot_be_used(
    tmp_path: Path, text: str, environ: dict[str, str], words: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    named = None if "HOSTUP_MCP_CONFIG" in environ else str(config)
    checks = run_checks({}, named, environ)
    assert exit_code(checks) == 2
    assert words in checks[0].found


def local_row(name: str, state: Path, **more: str) -> Check:
    """A check of this machine; HostUp is not reached."""
    return row(examine("http://127.0.0.1:1", KEY, state, **more), name)


def test_the_journal(state: Path) -> None:
    SqliteStore(state / "journal.sqlite3").close()
    journal = local_row("journal", state)
    assert journal.status == "ok"
    assert "sound, 0." in journal.found
    assert "0 commands without a result yet" in journal.found


def test_a_journal_that_a_server_uses(state: Path) -> None:
    journal = SqliteStore(state / "journal.sqlite3")
    record = journal.record_intent(WEB, "uptime", "p").execution
    before = journal.mark_running(journal.mark_sent(record), 7)
    found = local_row("journal", state)
    assert found.status == "ok"
    assert "1 commands without a result yet" in found.found
    assert journal.get(record.exec_id) == before
    journal.close()


@pytest.mark.parametrize("place", ["/dev/null", "/proc/hostup"])
def test_a_journal_folder_that_cannot_be_written(place: str) -> None:
    journal = local_row("journal", Path(place))
    assert (journal.status, journal.code) == ("fail", "journal_failed")
    assert "check that folder, its rights and the free disk space" in journal.advice


def damage(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "a folder":
        path.mkdir()
        return
    if kind == "no database":
        path.write_bytes(b"x" * 10_000)
        return
    journal = SqliteStore(path)
    if kind == "newer":
        journal.database.select(f"PRAGMA user_version = {VERSION + 1}")
    for number in range(200):
        journal.record_intent(WEB, f"echo {number}" + "x" * 500, "p")
    journal.close()
    if kind == "damaged":
        content = bytearray(path.read_bytes())
        content[8192:-8192] = bytes(len(content) - 16384)
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["a folder", "no database", "newer", "damaged"])
def test_a_journal_that_cannot_be_used(state: Path, kind: str) -> None:
    damage(state / "journal.sqlite3", kind)
    journal = local_row("journal", state)
    assert (journal.status, journal.code) == ("fail", "journal_failed")


def test_an_empty_file_is_where_the_first_start_makes_a_journal(state: Path) -> None:
    state.mkdir()
    (state / "journal.sqlite3").touch(0o600)
    assert local_row("journal", state).status == "ok"


def test_a_journal_that_others_may_read(state: Path) -> None:
    SqliteStore(state / "journal.sqlite3").close()
    (state / "journal.sqlite3").chmod(0o644)
    journal = local_row("journal", state)
    assert (journal.status, journal.code) == ("warn", "file_open_to_others")
    assert journal.advice == f"chmod 600 {state}/journal.sqlite3"


@pytest.mark.parametrize(
    ("content", "mode", "status", "code"),
    [
        ("token_0123456789", 0o600, "ok", ""),
        ("token_0123456789", 0o640, "fail", "file_open_to_others"),
        ("", 0o600, "fail", "file_empty"),
        (None, 0o700, "fail", "file_unreadable"),
    ],
)
def test_the_token_of_serving_over_http(
    state: Path, content: str | None, mode: int, status: str, code: str
) -> None:
    state.mkdir()
    token = state / "http-token"
    if content is None:
        token.mkdir()
    else:
        token.write_text(content)
    token.chmod(mode)
    found = local_row("http_token", state)
    assert (found.status, found.code) == (status, code)
    assert "token_0123456789" not in found.found + found.advice


SHORT = "tooshort"


@pytest.mark.parametrize("way", ["token", "token_file", "made"])
def test_a_token_that_serving_refuses_is_refused_here_too(
    tmp_path: Path, state: Path, way: str
) -> None:
    """Also where others may read its file: what keeps the server from starting comes first."""
    state.mkdir(mode=0o700)
    file = state / "http-token" if way == "made" else tmp_path / "tokens"
    file.write_text(SHORT)
    file.chmod(0o644)
    more = {
        "token": {"HOSTUP_MCP_HTTP_TOKEN": SHORT},
        "token_file": {"HOSTUP_MCP__HTTP__TOKEN_FILE": str(file)},
        "made": {},
    }[way]
    found = local_row("http_token", state, **more)
    assert (found.status, found.code) == ("fail", "http_token_unusable")
    assert SHORT not in found.found + found.advice
    started = start(state, **more)
    assert started.returncode == 2
    assert "http_token_unusable" in started.stderr
    assert found.found in started.stderr


def test_a_token_file_that_is_not_there_is_not_made(tmp_path: Path, state: Path) -> None:
    missing = tmp_path / "tokens"
    found = local_row("http_token", state, HOSTUP_MCP__HTTP__TOKEN_FILE=str(missing))
    assert (found.status, found.code) == ("fail", "file_unreadable")
    assert not missing.exists()
    missing.touch(0o600)
    empty = local_row("http_token", state, HOSTUP_MCP__HTTP__TOKEN_FILE=str(missing))
    assert (empty.status, empty.code) == ("fail", "http_token_unusable")
    uds = local_row("http_token", state, HOSTUP_MCP__HTTP__UDS="/s", HOSTUP_MCP_HTTP_TOKEN=SHORT)
    assert uds.status == "ok"


def start(state: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A start over HTTP that is to come to nothing."""
    environ = {"HOSTUP_API_KEY": KEY, "HOSTUP_MCP_STATE_DIR": str(state), **more}
    return subprocess.run(
        [sys.executable, "-m", "hostup_mcp", "serve", "--transport", "http"],
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def http_rows(state: Path, **http: str) -> dict[str, Check]:
    """The checks of serving over HTTP with these settings."""
    environ = {f"HOSTUP_MCP__HTTP__{name.upper()}": value for name, value in http.items()}
    environ |= {"HOSTUP_BASE_URL": "http://127.0.0.1:1", "HOSTUP_MCP_STATE_DIR": str(state)}
    names = ("http_tls", "remote_access")
    return {check.check: check for check in run_checks({}, None, environ) if check.check in names}


def test_the_files_of_tls_are_loaded(tmp_path: Path, state: Path) -> None:
    assert http_rows(state) == {}
    authority = trustme.CA()
    pair, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    cert, key, foreign = (str(tmp_path / name) for name in ("cert", "key", "foreign"))
    pair.cert_chain_pems[0].write_to_path(cert)
    pair.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(foreign)
    assert http_rows(state, tls_cert=cert, tls_key=key)["http_tls"].status == "ok"
    bad = http_rows(state, tls_cert=cert, tls_key=foreign)["http_tls"]
    assert (bad.status, bad.code) == ("fail", "tls_unusable")
    assert http_rows(state, tls_cert=cert)["http_tls"].code == "tls_incomplete"


def test_an_address_that_others_reach_needs_consent(state: Path) -> None:
    refused = http_rows(state, host="0.0.0.0")["remote_access"]
    assert (refused.status, refused.code) == ("fail", "remote_access_refused")
    given = {"allowed_hosts": "mcp.example.com", "allowed_origins": "none"}
    given |= {"token": "token_0123456789", "i_understand_remote_access": "true"}
    assert http_rows(state, host="0.0.0.0", **given)["remote_access"].status == "ok"


def test_a_state_folder_that_cannot_even_be_looked_at(tmp_path: Path) -> None:
    checks = examine("http://127.0.0.1:1", KEY, tmp_path / ("long" * 100))
    assert row(checks, "journal").code == "journal_failed"
    assert row(checks, "http_token").code == "file_unreadable"


def test_a_key_file_that_others_may_read(tmp_path: Path, state: Path) -> None:
    key = tmp_path / "the key"
    key.write_text(KEY)
    key.chmod(0o644)
    checks = run_checks(
        {("hostup", "base_url"): "http://127.0.0.1:1"},
        None,
        {"HOSTUP_API_KEY_FILE": str(key), "HOSTUP_MCP_STATE_DIR": str(state)},
    )
    found = row(checks, "key_file")
    assert (found.status, found.code) == ("warn", "file_open_to_others")
    assert found.advice == f"chmod 600 '{key}'"
    assert KEY not in as_json(checks)


def test_what_lint_finds_is_a_hint(tmp_path: Path, state: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[policy]\npreset = "unrestricted"\n')
    policy = local_row("policy", state, HOSTUP_MCP_CONFIG=str(config))
    assert (policy.status, policy.code) == ("warn", "unrestricted")
    assert "hostup-mcp policy lint" in policy.advice


# ------------------------------------------------------------------ bounds


def test_work_that_hangs_is_given_up() -> None:
    release = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            within(0.1, release.wait)
    finally:
        release.set()
    assert within(10, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 // 0)


def test_a_loop_whose_thread_hangs_is_not_waited_for() -> None:
    """As with a name server that does not answer: its look-up cannot be interrupted."""
    release = threading.Event()

    async def work() -> str:
        asyncio.get_running_loop().run_in_executor(None, release.wait)
        return "done"

    start = time.monotonic()
    try:
        assert within_loop(30, work) == "done"
        assert time.monotonic() - start < 20
    finally:
        release.set()


# ------------------------------------------------------------------ the command line


def environ_of(base_url: str, key: str, state: Path) -> dict[str, str]:
    return {
        "HOSTUP_BASE_URL": base_url,
        "HOSTUP_API_KEY": key,
        "HOSTUP_MCP_STATE_DIR": str(state),
    }


def doctor(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hostup_mcp", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
        env={**os.environ, **env},
    )


def test_the_table(sandbox: Sandbox, state: Path) -> None:
    environ = environ_of(sandbox.base_url, sandbox.api_key, state)
    ran = doctor(COLUMNS="72", **environ)
    assert (ran.returncode, ran.stderr) == (1, "")
    lines = ran.stdout.splitlines()
    assert lines[0] == "check          status  found"
    assert [line.split()[0] for line in lines if not line.startswith(" ")][1:-1] == [
        *ROWS, "vps", "vps", "vps",
    ]  # fmt: skip
    assert all(len(line) <= 72 or " " not in line[24:].strip() for line in lines)
    assert lines[-1] == "15 ok, 1 with a warning, 1 failed, 0 not made."
    assert sandbox.api_key not in ran.stdout


def test_json(sandbox: Sandbox, state: Path) -> None:
    ran = doctor("--json", **environ_of(sandbox.base_url, sandbox.api_key, state))
    document = json.loads(ran.stdout)
    assert list(document) == ["version", "exit_code", "checks"]
    assert document["exit_code"] == ran.returncode == 1
    for check in document["checks"]:
        assert list(check) == ["check", "status", "found", "advice", "code", "subject"]
    assert [check["check"] for check in document["checks"]] == [*ROWS, "vps", "vps", "vps"]


def test_options_and_exit_codes(state: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with one_vps(LocalGuest()) as sandbox:
        key.write_text(sandbox.api_key)
        key.chmod(0o600)
        options = ("--base-url", sandbox.base_url, "--api-key-file", str(key))
        assert doctor(*options, "--state-dir", str(state)).returncode == 0
    assert doctor(*options, "--state-dir", str(state)).returncode == 1
    ran = doctor("--base-url", "ftp://x", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["exit_code"]) == (2, 2)


def test_a_stdout_that_takes_nothing_is_told_as_that() -> None:
    with Path("/dev/full").open("wb") as full_disk:
        ran = subprocess.run(
            [sys.executable, "-m", "hostup_mcp", "doctor", "--base-url", "ftp://x"],
            stdout=full_disk,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert b"stdout cannot be written" in ran.stderr
