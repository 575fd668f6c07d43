"""The sandbox behaves as the guest agent's and HostUp's documentation say."""

from __future__ import annotations

import json
import platform
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from hostup_mcp.hostup.agent import CAPTURE_MAX_BYTES
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.sandbox.machines import DB, MAIL, WEB, SandboxError, fleet, make_guest


class Api:
    """The sandbox over a real socket, with the standard library's client."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def __call__(
        self, path: str, body: object = None, key: str | None = None
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._sandbox.base_url + "/api/v2/vps" + path, data)  # noqa: S310
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {key or self._sandbox.api_key}")
        try:
            with urllib.request.urlopen(request) as reply:  # noqa: S310
                return reply.status, json.load(reply), dict(reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error), dict(error.headers)

    def run(self, command: str) -> int:
        status, started, _ = self(f"/{WEB}/agent/exec", {"command": command})
        assert status == 200, started
        assert started["pollUrl"] == f"/api/v2/vps/{WEB}/agent/exec?pid={started['pid']}"
        return started["pid"]

    def poll(self, pid: int) -> dict[str, Any]:
        status, state, _ = self(f"/{WEB}/agent/exec?pid={pid}")
        assert status == 200, state
        return state

    def result(self, command: str) -> dict[str, Any]:
        pid = self.run(command)
        while not (state := self.poll(pid))["exited"]:
            assert state == {"exited": False}, "no output before the end"
            time.sleep(0.02)
        return state


@pytest.fixture(params=["local", "qga"])
def api(request: pytest.FixtureRequest) -> Api:
    name = {"local": "sandbox", "qga": "qga_sandbox"}[request.param]
    return Api(request.getfixturevalue(name))


@pytest.fixture
def limited() -> Iterator[Sandbox]:
    with Sandbox(fleet(LocalGuest()), rate_limit=3) as sandbox:
        yield sandbox


def test_a_command_and_its_result_once(api: Api) -> None:
    pid = api.run("uname -r; echo wrong >&2; exit 3")
    while not (state := api.poll(pid))["exited"]:
        time.sleep(0.02)
    assert state["exitCode"] == 3
    assert state["stdout"].strip() == platform.release()
    assert state["stderr"] == "wrong\n"
    status, problem, _ = api(f"/{WEB}/agent/exec?pid={pid}")
    assert (status, problem["code"]) == (404, "not_found")


def test_nothing_is_shown_before_the_end_and_the_end_is_when_both_pipes_close(api: Api) -> None:
    pid = api.run("echo early; sleep 0.6 & exit 0")
    assert api.poll(pid) == {"exited": False}
    began = time.monotonic()
    while not (state := api.poll(pid))["exited"]:
        time.sleep(0.02)
    assert time.monotonic() - began > 0.3
    assert state["stdout"] == "early\n"


def test_a_signal_leaves_no_exit_code(api: Api) -> None:
    state = api.result("kill -9 $$")
    assert state["exitCode"] is None
    assert state["signal"] == 9


def test_there_is_no_input_and_a_missing_program_is_127(api: Api) -> None:
    assert api.result("cat")["exitCode"] == 0
    assert api.result("no-such-program")["exitCode"] == 127


def test_each_stream_is_capped_and_the_command_goes_on(api: Api) -> None:
    state = api.result(f"head -c {CAPTURE_MAX_BYTES + 5} /dev/zero | tr '\\0' x; echo done >&2")
    assert len(state["stdout"]) == CAPTURE_MAX_BYTES
    assert state["out-truncated"] is True
    assert state["stderr"] == "done\n"


def test_many_at_once(api: Api) -> None:
    pids = {api.run(f"sleep 0.3; echo {n}"): n for n in range(20)}
    assert len(pids) == 20
    time.sleep(0.4)
    for pid, n in pids.items():
        while not (state := api.poll(pid))["exited"]:
            time.sleep(0.02)
        assert state["stdout"] == f"{n}\n"


@pytest.mark.parametrize(
    ("vps_id", "state"),
    [
        (WEB, {"available": True, "reason": None, "vmRunning": True}),
        (DB, {"available": False, "reason": "VM is not running", "vmRunning": False}),
        (
            MAIL,
            {"available": False, "reason": "QEMU guest agent is not running", "vmRunning": True},
        ),
    ],
)
def test_availability_has_its_reason(sandbox: Sandbox, vps_id: str, state: object) -> None:
    api = Api(sandbox)
    assert api(f"/{vps_id}/agent/exec")[:2] == (200, state)
    if vps_id != WEB:
        status, problem, _ = api(f"/{vps_id}/agent/exec", {"command": "uptime"})
        assert (status, problem["code"]) == (409, "vps_not_ready")


def test_status_shows_power_and_uptime(sandbox: Sandbox) -> None:
    api = Api(sandbox)
    assert api(f"/{WEB}/status")[1]["uptimeSeconds"] >= 0
    off = api(f"/{DB}/status")[1]
    assert (off["powerState"], off["uptimeSeconds"]) == ("stopped", None)


def test_keys_and_scopes(sandbox: Sandbox) -> None:
    api = Api(sandbox)
    assert api("", key="wrong")[0] == 401
    read = sandbox.read_key
    assert api("", key=read)[0] == 200
    assert api(f"/{WEB}/agent/exec", key=read)[0] == 200
    for path, body in (
        (f"/{WEB}/agent/exec?pid=1", None),
        (f"/{WEB}/agent/exec", {"command": "uptime"}),
    ):
        status, problem, _ = api(path, body, key=read)
        assert (status, problem["code"]) == (403, "forbidden")
        assert "write:vm" in problem["detail"]


@pytest.mark.parametrize(
    "body", [{}, {"command": ""}, {"command": 5}, {"command": "x" * 4097}, [], "x", None]
)
def test_a_wrong_body_is_refused_with_its_place(sandbox: Sandbox, body: object) -> None:
    body = {"command": None} if body is None else body
    status, problem, headers = Api(sandbox)(f"/{WEB}/agent/exec", body)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert re.fullmatch("req_[0-9a-f]{26}", problem["requestId"])
    assert headers["content-type"] == "application/problem+json"
    if isinstance(body, dict):
        assert problem["errors"][0]["pointer"] == "/command"


def test_the_rate_limit_says_when_to_come_back(limited: Sandbox) -> None:
    api = Api(limited)
    assert [api("")[0] for _ in range(4)] == [200, 200, 200, 429]
    _, problem, headers = api("")
    assert problem["code"] == "rate_limit_exceeded"
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit"] == "3"
    assert headers["x-ratelimit-remaining"] == "0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", headers["x-ratelimit-reset"])
    assert api("", key=limited.read_key)[0] == 200, "a limit of its own for each key"


def test_a_port_that_is_taken_is_a_clear_error(sandbox: Sandbox) -> None:
    port = int(sandbox.base_url.rsplit(":", 1)[1])
    with (
        pytest.raises(SandboxError, match=f"port {port} cannot be used"),
        Sandbox(fleet(LocalGuest()), port=port),
    ):
        pass


def test_without_qemu_ga_auto_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostup_mcp.sandbox.machines.find_qemu_ga", lambda: None)
    assert isinstance(make_guest("auto"), LocalGuest)
    with pytest.raises(SandboxError, match="apt-get install qemu-guest-agent"):
        make_guest("qga")


def test_closing_kills_what_runs() -> None:
    with Sandbox(fleet(guest := LocalGuest()), rate_limit=100) as sandbox:
        Api(sandbox).run("sleep 60")
        folder = guest.folder
        assert folder
        assert folder.is_dir()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not folder.exists()
