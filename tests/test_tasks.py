"""The Tasks extension over stdio: real server processes, the official client, and raw lines."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import DB, MAIL, WEB
from tests.failing_guest import half_broken_fleet
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem
from tests.stdio_client import LEGACY, MODERN, RawClient, environment, facts
from tests.task_client import DECLARED, EXTENSION, Tasks

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("tasks/get", {}),
    ("tasks/update", {"inputResponses": {}}),
    ("tasks/cancel", {}),
]


def modern(
    client: RawClient, method: str, capabilities: Mapping[str, Any] = DECLARED, **params: Any
) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        **params.pop("_meta", {}),
    }
    return client.request(method, {**params, "_meta": meta})


def call(client: RawClient, name: str = "vps_exec", **arguments: Any) -> dict[str, Any]:
    answer = modern(client, "tools/call", name=name, arguments=arguments)
    return result_of(answer)


def get(client: RawClient, task_id: str) -> dict[str, Any]:
    return result_of(modern(client, "tasks/get", taskId=task_id))


def result_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    assert "error" not in answer, answer
    return {name: value for name, value in answer["result"].items() if name != "_meta"}


def until_over(client: RawClient, task_id: str) -> dict[str, Any]:
    for _ in range(300):
        task = get(client, task_id)
        if task["status"] != "working":
            return task
        time.sleep(0.1)
    pytest.fail("the task does not end")


async def test_the_official_client_gets_the_result_by_way_of_a_task(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    tasks = Tasks()
    told: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    transport = stdio_client(
        StdioServerParameters(command=sys.executable, args=["-m", "hostup_mcp"], env=env)
    )
    async with Client(transport, mode="auto", extensions=[tasks]) as client:
        assert client.protocol_version == MODERN
        assert client.server_capabilities.extensions == {EXTENSION: {}}
        ran = await client.call_tool(
            "vps_exec", {"vps_id": WEB, "command": "sleep 2"}, progress_callback=on_progress
        )
        found = facts(ran)
        (created,) = tasks.created
        assert created.task_id == found["exec_id"]
        # Exactly what vps_exec says, which is what vps_exec_result says too.
        again = await client.call_tool("vps_exec_result", {"exec_id": found["exec_id"]})
    assert again.content == ran.content
    assert again.structured_content == ran.structured_content
    assert found["exit_code"] == 0
    assert found["elapsed_seconds"] >= 2
    assert told == [], "a task has no progress"
    assert {state.status for state in tasks.seen} == {"working", "completed"}
    assert len(tasks.created) == 1, "vps_exec_result makes no task"


def test_create_get_completed(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        began = time.time()
        created = call(client, vps_id=WEB, command="sleep 1", wait_seconds=45)
        assert time.time() - began < 20, "it does not wait for the end"
        assert created.pop("resultType") == "task"
        assert "exec_id exec_" in created.pop("statusMessage")
        assert set(created) == {
            "taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs",
        }  # fmt: skip
        assert created["status"] == "working"
        assert created["ttlMs"] >= 30 * 86_400_000
        assert isinstance(created["ttlMs"], int)
        assert isinstance(created["pollIntervalMs"], int)
        task_id = created["taskId"]

        working = get(client, task_id)
        assert working["resultType"] == "complete"
        assert working["status"] == "working"
        assert "result" not in working
        assert "HostUp cannot stop a command that was sent" in working["statusMessage"]

        done = until_over(client, task_id)
        assert done["status"] == "completed"
        assert done["taskId"] == task_id
        assert done["createdAt"] == created["createdAt"]
        assert datetime.fromisoformat(done["lastUpdatedAt"]) > datetime.fromisoformat(
            done["createdAt"]
        )
        assert "pollIntervalMs" not in done
        assert done["result"]["resultType"] == "complete"
        assert done["result"]["isError"] is False
        assert done["result"]["structuredContent"]["exit_code"] == 0
        plain = call(client, "vps_exec_result", exec_id=task_id)
        assert plain == done["result"]
        assert get(client, task_id) == done


def test_a_long_command_says_what_it_does(scripted: ScriptedApi, tmp_path: Path) -> None:
    def script(request: Received) -> Answer:
        if "pid=" in request.path:
            return json_answer({"exited": False})
        return json_answer({"pid": 5} if request.method == "POST" else {"available": True})

    scripted.script = script
    with RawClient(environment(scripted.url, "some_key_123", tmp_path)) as client:
        task_id = call(client, vps_id="vps_1", command="uptime")["taskId"]
        time.sleep(4)
        task = get(client, task_id)
    assert task["status"] == "working"
    assert "running as pid 5, polled " in task["statusMessage"]
    assert task["pollIntervalMs"] >= 1000, "the longer it runs, the longer the pauses"


def test_an_error_is_a_completed_task(tmp_path: Path) -> None:
    with (
        Sandbox(half_broken_fleet()) as sandbox,
        RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client,
    ):
        failed = until_over(client, call(client, vps_id=MAIL, command="uptime")["taskId"])
        off = until_over(client, call(client, vps_id=DB, command="uptime")["taskId"])
    assert failed["status"] == off["status"] == "completed"
    assert failed["result"]["isError"] is False
    assert failed["result"]["structuredContent"]["exit_code"] == 3
    assert off["result"]["isError"] is True
    assert off["result"]["content"][0]["text"].startswith("vps_off: ")


def test_what_is_certain_before_there_is_an_execution_is_a_result(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        refused = call(client, vps_id=WEB, command="sudo df")
        wrong = call(client, vps_id=WEB)
        elsewhere = call(client, vps_id="vps_nosuch", command="uptime")
        listed = call(client, "list_vps")
    for answer in (refused, wrong, elsewhere):
        assert answer["resultType"] == "complete"
        assert answer["isError"] is True
    assert listed["structuredContent"]["vps"]


def test_a_repeat_is_told_as_a_result_that_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        task_id = call(client, vps_id=WEB, command="sleep 1")["taskId"]
        repeat = call(client, vps_id=WEB, command="sleep 1")
    assert repeat["resultType"] == "complete"
    assert repeat["structuredContent"]["exec_id"] == task_id
    assert repeat["structuredContent"]["notes"][0].startswith("not run again: ")


@pytest.mark.parametrize("stop", ["stdin closed", "killed"])
def test_a_task_outlives_its_server(sandbox: Sandbox, tmp_path: Path, stop: str) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        created = call(client, vps_id=WEB, command="sleep 2")
        task_id = created["taskId"]
        while "running as pid" not in get(client, task_id)["statusMessage"]:
            time.sleep(0.1)
        if stop == "killed":
            client.signal(signal.SIGKILL)
            client.wait()
        else:
            assert client.finish()[0] == 0
    with RawClient(env) as client:
        task = until_over(client, task_id)
    assert task["status"] == "completed"
    assert task["createdAt"] == created["createdAt"]
    assert task["result"]["structuredContent"]["exit_code"] == 0


def test_cancel_is_acknowledged_and_the_command_runs_on(sandbox: Sandbox, tmp_path: Path) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        task_id = call(client, vps_id=WEB, command="sleep 2")["taskId"]
        while "running as pid" not in get(client, task_id)["statusMessage"]:
            time.sleep(0.1)
        assert result_of(modern(client, "tasks/cancel", taskId=task_id)) == {
            "resultType": "complete"
        }
        assert get(client, task_id)["status"] == "working"
        task = until_over(client, task_id)
        assert task["status"] == "completed"
        assert task["result"]["structuredContent"]["exit_code"] == 0
        # Once more, of what is over.
        assert result_of(modern(client, "tasks/cancel", taskId=task_id)) == {
            "resultType": "complete"
        }
        assert get(client, task_id) == task


def test_cancel_before_the_command_is_sent_keeps_it_unsent(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    """HostUp has too much to do; before it is asked again, the command is cancelled."""

    def script(request: Received) -> Answer:
        if request.method == "POST":
            return json_answer(problem(429, "RATE_LIMITED"), 429, retry_after="3")
        return json_answer({"available": True})

    scripted.script = script
    with RawClient(environment(scripted.url, "some_key_123", tmp_path)) as client:
        task_id = call(client, vps_id="vps_1", command="uptime")["taskId"]
        while "rate" not in get(client, task_id)["statusMessage"]:
            time.sleep(0.05)
        modern(client, "tasks/cancel", taskId=task_id)
        task = until_over(client, task_id)
    assert task["status"] == "cancelled"
    assert task["statusMessage"] == "The call was cancelled before the command was sent."
    assert "result" not in task
    assert len([request for request in scripted.received if request.method == "POST"]) == 1


def test_update_is_acknowledged_though_nothing_was_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        task_id = call(client, vps_id=WEB, command="uptime -p")["taskId"]
        responses = {"never-asked": {"action": "accept"}}
        answer = modern(client, "tasks/update", taskId=task_id, inputResponses=responses)
        assert result_of(answer) == {"resultType": "complete"}
        assert until_over(client, task_id)["status"] == "completed"


def test_a_client_that_declares_nothing_sees_no_difference(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        arguments = {"vps_id": WEB, "command": "uptime -p"}
        answer = modern(client, "tools/call", {}, name="vps_exec", arguments=arguments)
        assert result_of(answer)["structuredContent"]["status"] == "completed"
        exec_id = result_of(answer)["structuredContent"]["exec_id"]
        for method, params in METHODS:
            error = modern(client, method, {}, taskId=exec_id, **params)["error"]
            assert error["code"] == -32021
            assert error["data"] == {"requiredCapabilities": DECLARED}
        # The same connection, another request: what counts is what each one declares.
        assert get(client, exec_id)["status"] == "completed"


def test_an_unknown_task_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        for method, params in METHODS:
            for wrong in ({"taskId": "exec_nosuch"}, {"taskId": ""}, {"taskId": 5}, {}):
                error = modern(client, method, **wrong, **params)["error"]
                assert error["code"] == -32602, (method, wrong)
        for method in ("tasks/list", "tasks/result"):
            assert modern(client, method, taskId="x")["error"]["code"] == -32601


def test_the_legacy_era_has_no_tasks(sandbox: Sandbox, tmp_path: Path) -> None:
    with RawClient(environment(sandbox.base_url, sandbox.api_key, tmp_path)) as client:
        info = {"name": "raw", "version": "1"}
        answer = client.request(
            "initialize",
            {"protocolVersion": LEGACY, "capabilities": DECLARED, "clientInfo": info},
        )
        assert "extensions" not in answer["result"]["capabilities"]
        client.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        ran = client.call("vps_exec", vps_id=WEB, command="uptime -p")["result"]
        assert ran["structuredContent"]["status"] == "completed"
        for method, params in METHODS:
            answer = client.request(
                method, {"taskId": ran["structuredContent"]["exec_id"]} | params
            )
            assert answer["error"]["code"] == -32601


def test_the_extension_is_advertised(tmp_path: Path) -> None:
    with RawClient(environment("http://127.0.0.1:1", "", tmp_path)) as client:
        capabilities = modern(client, "server/discover", {})["result"]["capabilities"]
    assert capabilities["extensions"] == {EXTENSION: {}}
    assert "tasks" not in capabilities
