"""The HTTP module, over real sockets: what leaves, what never does, and what a failure proves."""

from __future__ import annotations

import ast
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream

from hostup_mcp.hostup import http
from hostup_mcp.hostup.errors import (
    ConnectionLost,
    HostUpError,
    NotSent,
    ReplyTooLarge,
    TimedOut,
    TlsFailed,
)
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.origin import is_loopback
from tests.scripted_api import Answer, ScriptedApi

QUICK = Timeouts(connect=1, read=0.3, write=1, pool=1, total=2)


async def fetch(origin: str, timeouts: Timeouts = QUICK, max_bytes: int = 1000) -> http.Reply:
    transport = HttpTransport(origin, timeouts)
    try:
        return await transport.request("GET", "/x", headers={"a": "b"}, max_bytes=max_bytes)
    finally:
        await transport.aclose()


async def test_what_a_request_carries(scripted: ScriptedApi) -> None:
    scripted.always(Answer(200, b"{}", {"X-Thing": "1"}))
    reply = await fetch(scripted.url + "/")
    (received,) = scripted.received
    assert received.path == "/x"
    assert received.headers["User-Agent"].startswith("hostup-mcp/")
    assert received.headers["Accept"] == "application/json"
    assert received.headers["Accept-Encoding"] == "identity"
    assert (reply.status, reply.body, reply.headers["x-thing"]) == (200, b"{}", "1")


async def test_a_redirect_is_not_followed(scripted: ScriptedApi) -> None:
    scripted.always(Answer(307, headers={"location": scripted.url + "/elsewhere"}))
    assert (await fetch(scripted.url)).status == 307
    assert [request.path for request in scripted.received] == ["/x"]


async def test_no_proxy_sees_a_request_to_this_machine(
    scripted: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    scripted.always(Answer(200, b"{}"))
    assert (await fetch(scripted.url)).status == 200


async def fails(origin: str, timeouts: Timeouts = QUICK) -> HostUpError:
    with pytest.raises(HostUpError) as caught:
        await fetch(origin, timeouts)
    return caught.value


async def test_connection_refused_proves_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    error = await fails(f"http://127.0.0.1:{port}")
    assert type(error) is NotSent
    assert error.nothing_ran


async def test_a_name_that_does_not_resolve_proves_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_such_name(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    error = await fails("https://nosuchhost.invalid")
    assert type(error) is NotSent
    assert error.nothing_ran


async def test_a_tls_failure_proves_that_nothing_was_sent() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    with ScriptedApi(context) as api:
        error = await fails(api.url)
        assert api.received == []
    assert type(error) is TlsFailed
    assert error.nothing_ran


async def test_plain_http_where_tls_is_expected_is_a_tls_failure(scripted: ScriptedApi) -> None:
    error = await fails(scripted.url.replace("http:", "https:"))
    assert type(error) is TlsFailed
    assert error.nothing_ran


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, b"{}", delay=5), TimedOut),
        (Answer(hang_up=True), ConnectionLost),
        (Answer(200, b"{}" * 50, cut=10), ConnectionLost),
        (Answer(200, b"x" * 1001), ReplyTooLarge),
    ],
)
async def test_after_the_request_nothing_is_proven(
    scripted: ScriptedApi, answer: Answer, kind: type[HostUpError]
) -> None:
    scripted.always(answer)
    error = await fails(scripted.url)
    assert type(error) is kind
    assert not error.nothing_ran


async def test_a_reply_that_trickles_is_bounded_by_the_total() -> None:
    """Each byte comes within the read timeout; without a total this would go on for ever."""

    async def trickle(stream: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError):
            async with stream:
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                while True:
                    await stream.send(b" ")
                    await anyio.sleep(0.05)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, trickle)
        error = await fails(f"http://127.0.0.1:{port}", Timeouts(read=0.3, total=0.6))
        assert type(error) is TimedOut
        tasks.cancel_scope.cancel()


def test_every_name_used_of_the_http_library_is_also_in_its_continuation() -> None:
    """Moving to httpx2 is a change of one import."""
    tree = ast.parse(Path(http.__file__).read_text())
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "httpx"
    }
    assert {"AsyncClient", "ConnectError"} <= names
    assert [name for name in sorted(names) if not hasattr(httpx2, name)] == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("ALL_PROXY", "x:y"),
    ],
)
async def test_an_environment_that_no_connection_can_be_made_with(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    error = await fails("https://127.0.0.2:1")
    assert isinstance(error, NotSent)
    assert error.nothing_ran


@pytest.mark.parametrize("status", [b"403 Forbidden", b"407 Who are you", b"503 Busy"])
async def test_a_proxy_that_does_not_connect_proves_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, status: bytes
) -> None:
    """The proxy sees only the name, in a CONNECT; the key would be inside the TLS."""
    seen: list[bytes] = []

    async def refuse(stream: SocketStream) -> None:
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    monkeypatch.setenv("HTTPS_PROXY", f"http://someone:s3cret@127.0.0.1:{port}")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        error = await fails("https://nosuchhost.invalid")
        assert type(error) is NotSent
        assert error.nothing_ran
        told = f"made no connection to https://nosuchhost.invalid (HTTP {status[:3].decode()})."
        assert told in error.message
        assert "s3cret" not in str(error)
        tasks.cancel_scope.cancel()
    assert len(seen) == 1
    assert seen[0].startswith(b"CONNECT nosuchhost.invalid:443 ")


@pytest.mark.parametrize("sign", "/#?")
async def test_a_proxy_that_cannot_be_used_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://alice:hunter2{sign}x@proxy.example:3128")
    error = await fails("https://nosuchhost.invalid")
    assert type(error) is NotSent
    assert error.message == "The proxy in HTTPS_PROXY cannot be used (value not shown)."
    assert "/ # ?" in error.advice
    assert "hunter2" not in str(error)


async def test_a_plain_proxy_s_own_error_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, scripted: ScriptedApi
) -> None:
    """Without TLS the proxy gets the request itself, and its reply is no proof of anything."""
    scripted.always(Answer(503))
    monkeypatch.setenv("HTTP_PROXY", scripted.url)
    assert (await fetch("http://nosuchhost.invalid")).status == 503
    assert [request.path for request in scripted.received] == ["http://nosuchhost.invalid/x"]


@pytest.mark.parametrize("value", ["http://a:hunter22@[::1", "hunter22]:x[,", "[::1]:99999"])
async def test_hosts_without_a_proxy_that_are_none_are_told_by_their_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", value)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    transport = HttpTransport("https://hostup.invalid", Timeouts())
    with pytest.raises(NotSent) as caught:
        await transport.request("GET", "/", headers={})
    assert caught.value.message == "NO_PROXY cannot be used (value not shown)."
    assert "with commas between" in caught.value.advice
