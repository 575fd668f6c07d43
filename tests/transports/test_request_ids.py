"""Two requests with one JSON-RPC id in one session: neither gets the other's answer."""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from hostup_mcp.sandbox.machines import WEB
from tests.transports.http_process import INITIALIZE, HttpServer, request

INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call_of(command: str, request_id: object) -> dict[str, Any]:
    params = {"name": "vps_exec", "arguments": {"vps_id": WEB, "command": command}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def data_of(stream: str) -> list[dict[str, Any]]:
    """The messages of a stream of events."""
    lines = [line.removeprefix("data:") for line in stream.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line.strip().startswith("{")]


@pytest.mark.parametrize("second_id", [78, "78"], ids=["same", "same to the SDK"])
def test_the_second_is_refused_and_the_first_gets_its_own_answer(
    served: HttpServer, second_id: object
) -> None:
    first_command = f"sleep 2; echo FIRST {second_id!r}"
    second_command = f"echo SECOND {second_id!r}"
    with served.http() as http, ThreadPoolExecutor(1) as pool:
        sent = {"Mcp-Session-Id": http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]}
        http.post("/mcp", json=INITIALIZED, headers=sent)
        first: Future[httpx2.Response] = pool.submit(
            http.post, "/mcp", json=call_of(first_command, 78), headers=sent
        )
        time.sleep(0.5)
        refused = http.post("/mcp", json=call_of(second_command, second_id), headers=sent)
        assert refused.status_code == 400, refused.text
        error = refused.json()["error"]
        assert (error["code"], error["data"]["error"]) == (-32600, "request_id_in_use")
        (answer,) = [message for message in data_of(first.result().text) if "result" in message]
        assert answer["id"] == 78
        assert answer["result"]["structuredContent"]["stdout"].startswith("FIRST")
        # The refused one has not run; answered ids are free again, as often as wanted.
        for _ in range(20):
            again = http.post("/mcp", json=call_of(second_command, second_id), headers=sent)
            (message,) = data_of(again.text)
            assert message["result"]["structuredContent"]["stdout"].startswith("SECOND")


def test_the_name_of_the_get_stream_is_no_id(served: HttpServer) -> None:
    with served.http() as http:
        sent = {"Mcp-Session-Id": http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]}
        refused = http.post("/mcp", json=call_of("true", "_GET_stream"), headers=sent)
        assert refused.status_code == 400
        assert refused.json()["error"]["data"]["error"] == "request_id_in_use"


def test_another_session_may_use_the_same_id_meanwhile(served: HttpServer) -> None:
    with served.http() as http, ThreadPoolExecutor(2) as pool:
        sessions = [http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"] for _ in "ab"]
        answers = [
            pool.submit(
                http.post,
                "/mcp",
                json=call_of(f"sleep 1; echo {session}", 78),
                headers={"Mcp-Session-Id": session},
            )
            for session in sessions
        ]
        for session, answer in zip(sessions, answers, strict=True):
            (message,) = data_of(answer.result().text)
            assert message["result"]["structuredContent"]["stdout"] == f"{session}\n"


def test_over_sse_both_are_answered_in_the_one_stream(served: HttpServer) -> None:
    with served.connect() as connection, served.http() as http:
        connection.sendall(request("/sse", f"Authorization: Bearer {served.token}"))
        got = b""
        while b"session_id=" not in got or not got.endswith(b"\r\n\r\n"):
            got += connection.recv(65536)
        (path,) = [
            line.removeprefix("data: ")
            for line in got.decode().splitlines()
            if line.startswith("data: ")
        ]
        http.post(path, json=INITIALIZE)
        http.post(path, json=INITIALIZED)
        for command in ("sleep 1; echo SSE one", "sleep 2; echo SSE two"):
            assert http.post(path, json=call_of(command, 78)).status_code == 202
        answers: list[str] = []
        while len(answers) < 2:
            chunk = connection.recv(65536)
            assert chunk, got
            got += chunk
            answers = [
                message["result"]["structuredContent"]["stdout"]
                for message in data_of(got.decode().rpartition("\r\n")[0])
                if message.get("id") == 78
            ]
        assert answers == ["SSE one\n", "SSE two\n"]
