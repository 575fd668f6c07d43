"""The proxy's faults are what they are called, as a plain client sees them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.faults.plans import FaultName, Plan, Rule
from tests.faults.proxy import Proxy
from tests.faults.wire import recognise
from tests.scripted_api import ScriptedApi, json_answer

VPS = "vps_1"
POLL = f"GET /api/v2/vps/{VPS}/agent/exec?pid=7 HTTP/1.1\r\nhost: x\r\n\r\n".encode()
BODY = b'{"exited": false}'


@pytest.fixture
def proxy(scripted: ScriptedApi) -> Iterator[Proxy]:
    scripted.always(json_answer({"exited": False}))
    with Proxy(scripted.url) as running:
        yield running


def ask(proxy: Proxy) -> socket.socket:
    """A connection on which a poll was sent."""
    address = urlsplit(proxy.url)
    assert address.hostname
    assert address.port
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    connection.sendall(POLL)
    return connection


def read(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    with closing(connection):
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
        return received


def reply(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one reply."""
    with closing(connection), closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return response.status, response.read()


def plan(proxy: Proxy, fault: FaultName) -> None:
    proxy.plans[VPS] = Plan([Rule("poll", fault)])


@pytest.mark.parametrize(("moment", "arrived"), [("before", 0), ("after", 1)])
def test_reset_and_hang_up(proxy: Proxy, scripted: ScriptedApi, moment: str, arrived: int) -> None:
    plan(proxy, "reset_before" if moment == "before" else "reset_after")
    with pytest.raises(ConnectionResetError):
        read(ask(proxy))
    assert len(scripted.received) == arrived
    plan(proxy, "hang_up_before" if moment == "before" else "hang_up_after")
    proxy.records.clear()
    assert read(ask(proxy)) == b""
    assert len(scripted.received) == 2 * arrived


def test_a_reply_cut_in_half(proxy: Proxy, scripted: ScriptedApi) -> None:
    plan(proxy, "cut_in_head")
    assert b"\r\n\r\n" not in read(ask(proxy))
    plan(proxy, "cut_in_body")
    proxy.records.clear()
    assert read(ask(proxy)).endswith(BODY[: len(BODY) // 2])
    assert len(scripted.received) == 2


def test_a_late_request_arrives_when_the_client_has_gone(
    proxy: Proxy, scripted: ScriptedApi
) -> None:
    plan(proxy, "late_request")
    connection = ask(proxy)
    connection.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    assert not scripted.received
    connection.close()
    while not scripted.received:
        pass


@pytest.mark.parametrize(
    ("fault", "status", "arrived"),
    [
        ("limit_plain", 429, 0),
        ("limit_with_retry_after", 429, 0),
        ("error_before", 500, 0),
        ("error_after", 500, 1),
        ("bad_gateway_before", 502, 0),
        ("bad_gateway_after", 502, 1),
        ("unavailable_before", 503, 0),
        ("unavailable_after", 503, 1),
    ],
)
def test_another_reply(
    proxy: Proxy, scripted: ScriptedApi, fault: FaultName, status: int, arrived: int
) -> None:
    plan(proxy, fault)
    assert reply(ask(proxy))[0] == status
    assert len(scripted.received) == arrived
    assert reply(ask(proxy)) == (200, BODY), "the fault is for the first poll only"


@pytest.mark.parametrize("fault", ["duplicate_joined", "duplicate_apart"])
def test_two_replies_on_one_request(proxy: Proxy, scripted: ScriptedApi, fault: FaultName) -> None:
    plan(proxy, fault)
    received = b""
    with closing(ask(proxy)) as connection:
        while received.count(BODY) < 2:
            received += connection.recv(65_536)
    assert received.count(b"HTTP/1.1 200") == 2
    assert len(scripted.received) == 1


def test_a_door_that_is_shut_refuses(proxy: Proxy) -> None:
    assert reply(ask(proxy)) == (200, BODY)
    proxy.shut(1)
    with pytest.raises(ConnectionRefusedError):
        ask(proxy)
    proxy.listen()
    assert reply(ask(proxy)) == (200, BODY)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("GET /api/v2/vps?limit=5", "list"),
        ("GET /api/v2/vps/vps_1", "describe"),
        ("GET /api/v2/vps/vps_1/status", "status"),
        ("GET /api/v2/vps/vps_1/agent/exec", "probe"),
        ("POST /api/v2/vps/vps_1/agent/exec", "start"),
        ("GET /api/v2/vps/vps_1/agent/exec?pid=7", "poll"),
        ("GET /elsewhere", "other"),
    ],
)
def test_what_a_request_asks_for(line: str, kind: str) -> None:
    assert recognise(f"{line} HTTP/1.1\r\n\r\n".encode()).kind == kind
