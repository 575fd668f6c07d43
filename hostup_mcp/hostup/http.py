"""HTTP to one origin: the only module that knows the HTTP library.

To move to `httpx2`, the maintained successor of `httpx` with the same names, change the one import
below. `tests/test_http.py` checks that `httpx2` has every name used here.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol, cast
from urllib.parse import urlsplit

import anyio
import httpx

from hostup_mcp.hostup import proxies
from hostup_mcp.hostup.errors import (
    ConnectionLost,
    NotSent,
    ReplyTooLarge,
    TimedOut,
    TlsFailed,
)
from hostup_mcp.hostup.origin import is_loopback

USER_AGENT = f"hostup-mcp/{version('hostup-mcp')}"

_MIB = 1024 * 1024
# The agent keeps at most 16 MiB of each stream, and JSON's escapes make the text longer.
MAX_RESULT_BYTES = 100 * _MIB
MAX_REPLY_BYTES = 4 * _MIB

_CHECK_NETWORK = "Check the network and hostup.base_url, then try again."
_CHECK_PROXY = "Check the proxy variables and what the proxy allows, then try again."
_MAY_HAVE_ARRIVED = "HostUp may have received the request: check before you repeat a change."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of one request, in seconds. `total` limits a reply that arrives very slowly."""

    connect: float = 10.0
    read: float = 30.0
    write: float = 10.0
    pool: float = 10.0
    total: float = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply: the status, the headers with lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Tls:
    """The trusted certificates. Reading them is slow, so it happens once, at the first request."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The TLS context of all connections."""
        if self._context is None:
            self._context = httpx.create_ssl_context()
        return self._context


class HttpTransport:
    """Sends requests to one origin, each over its own connection.

    Nothing in HTTP/1.1 ties a reply to its request. On a reused connection, a reply that comes
    twice may be taken for the reply to the next request. If a handshake for each request costs too
    much, `own_connection` keeps one connection for requests that follow each other.

    Redirects are not followed, so the key in the headers reaches no other origin.
    """

    def __init__(
        self, origin: str, timeouts: Timeouts, heard: Callable[[Reply], None] | None = None
    ) -> None:
        """Nothing is connected yet.

        Args:
            origin: where requests go.
            timeouts: limits of each request.
            heard: called with every reply, except on connections from `own_connection`.
        """
        self._heard = heard
        self._origin = origin.rstrip("/")
        self._timeouts = timeouts
        self._tls = _Tls()
        self._kept = 0
        self._client: httpx.AsyncClient | None = None

    def own_connection(self) -> HttpTransport:
        """A transport that reuses one connection for its requests.

        After a reply that is not a success, or that more bytes follow, it makes a new one.
        """
        own = HttpTransport(self._origin, self._timeouts)
        own._tls = self._tls
        own._kept = 1
        return own

    @property
    def is_open(self) -> bool:
        """Whether requests were sent since it was created or last closed."""
        return self._client is not None

    def _pool(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = self._timeouts
            # A proxy from the environment must not see a plain-http request to this machine.
            behind_proxy = not is_loopback(urlsplit(self._origin).hostname or "")
            try:
                verify = self._tls.context()
            except (OSError, ValueError):
                raise _no_certificates() from None
            if behind_proxy and (unusable := proxies.unusable()):
                raise _no_proxy(unusable)
            self._client = self._made(limits, verify, behind_proxy=behind_proxy)
        return self._client

    def _made(
        self, limits: Timeouts, verify: ssl.SSLContext, *, behind_proxy: bool
    ) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                timeout=httpx.Timeout(
                    connect=limits.connect, read=limits.read, write=limits.write, pool=limits.pool
                ),
                limits=httpx.Limits(max_keepalive_connections=self._kept),
                verify=verify,
                follow_redirects=False,
                trust_env=behind_proxy,
            )
        except ImportError:
            message = f"The proxy in {_variables()} speaks SOCKS, which is not installed."
            raise NotSent(message, "Install httpx[socks] beside hostup-mcp.") from None
        except (OSError, ValueError, httpx.InvalidURL):
            # The library's error may quote the proxy's password. The proxies were checked before,
            # so the list of hosts without a proxy is at fault.
            if others := proxies.exceptions():
                message = f"{' and '.join(others)} cannot be used (value not shown)."
                raise NotSent(message, proxies.EXCEPTIONS_ADVICE) from None
            raise _no_proxy(proxies.named()) from None

    async def aclose(self) -> None:
        """Close the pool, if one was made."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]] = (),
        json_body: Mapping[str, str] | None = None,
        max_bytes: int = MAX_REPLY_BYTES,
        when_large: Callable[[], Awaitable[None]] | None = None,
    ) -> Reply:
        """Send one request and read the whole reply.

        Args:
            method: `GET` or `POST`.
            path: absolute path, already escaped for a URL.
            headers: sent unchanged, beside `User-Agent` and `Accept`.
            query: names and values; a name may repeat.
            json_body: sent as JSON with its `Content-Type`, if given.
            max_bytes: the largest body that is read.
            when_large: called once the body is over 1 MiB; the rest is read after it returns. Its
                time does not count towards the total timeout.

        Raises:
            NotSent: no byte of the request left this machine; a proxy may have refused to connect.
            TimedOut: the request was sent, but no complete reply came in time.
            ConnectionLost: the connection broke after the request may have been sent.
            ReplyTooLarge: the body is over `max_bytes`.
        """
        sent = {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            # Uncompressed: a compressed body could grow without bound when it is unpacked.
            "Accept-Encoding": "identity",
            **headers,
        }
        content: bytes | None = None
        if json_body is not None:
            content = json.dumps(json_body).encode("ascii")
            sent["Content-Type"] = "application/json"
        pool = self._pool()
        try:
            with anyio.fail_after(self._timeouts.total) as scope:

                async def pause() -> None:
                    if when_large is not None:
                        began, left = anyio.current_time(), scope.deadline
                        scope.deadline = float("inf")
                        await when_large()
                        scope.deadline = left + anyio.current_time() - began

                reply = await self._exchange(
                    pool, method, path, sent, query, content, max_bytes, pause
                )
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            message = f"No connection to {self._origin} was made in time."
            raise NotSent(message, _CHECK_NETWORK) from None
        except httpx.ConnectError as error:
            raise _connect_error(self._origin, error) from None
        except httpx.ProxyError as error:
            # Raised only by a CONNECT or SOCKS handshake, before anything of the request is sent.
            message = f"The proxy made no connection to {self._origin}{_status(error)}."
            raise NotSent(message, _CHECK_PROXY) from None
        except (httpx.TimeoutException, TimeoutError):
            message = f"{self._origin} did not answer in time."
            raise TimedOut(message, _MAY_HAVE_ARRIVED) from None
        except UnicodeError:
            message = f"{self._origin} cannot be reached: a host name is not valid."
            raise NotSent(message, _CHECK_NETWORK) from None
        except httpx.HTTPError as error:
            message = f"The connection to {self._origin} broke ({type(error).__name__})."
            raise ConnectionLost(message, _MAY_HAVE_ARRIVED) from None
        return reply

    async def _exchange(
        self,
        pool: httpx.AsyncClient,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]],
        content: bytes | None,
        max_bytes: int,
        when_large: Callable[[], Awaitable[None]],
    ) -> Reply:
        stream = pool.stream(
            method,
            self._origin + path,
            params=httpx.QueryParams(list(query)) if query else None,
            headers=dict(headers),
            content=content,
        )
        async with stream as response:
            body = bytearray()
            is_large = False
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MIB and not is_large:
                    is_large = True
                    await when_large()
                if len(body) > max_bytes:
                    raise ReplyTooLarge(
                        f"{self._origin} sent a reply of more than {max_bytes} bytes.",
                        "The rest was not read. Check that hostup.base_url is HostUp's API.",
                        status=response.status_code,
                    )
            if self._kept and (not response.is_success or _has_more(response)):
                # Bytes after the reply belong to none of our requests; the next must not get them.
                await cast("_Stream", response.extensions["network_stream"]).aclose()
            reply = Reply(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=bytes(body),
            )
        if self._heard is not None:
            self._heard(reply)
        return reply


class _Stream(Protocol):
    """The part of a connection used here (httpcore's `AsyncNetworkStream`, a public extension)."""

    async def aclose(self) -> None:
        """Close it."""
        ...

    def get_extra_info(self, info: str) -> object:
        """`is_readable`: whether bytes wait to be read."""
        ...


def _has_more(response: httpx.Response) -> bool:
    """Whether bytes after the reply came on the connection: a duplicate, or somebody else's reply.

    Bytes may wait in the socket, or the HTTP library has read them already and keeps them in its
    parser, which has no public name. Bytes that come later, the library detects before the next
    request.
    """
    stream = cast("_Stream", response.extensions["network_stream"])
    found: object = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        found = getattr(found, name, None)
    trailing = cast("tuple[bytes, bool]", getattr(found, "trailing_data", (b"", False)))
    return bool(trailing[0]) or bool(stream.get_extra_info("is_readable"))


def _connect_error(origin: str, error: httpx.ConnectError) -> NotSent:
    """The error for a failed TLS handshake or an unreachable host; the library has one for both."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or "handshake failed"
            return TlsFailed(
                f"TLS with {origin} failed ({reason}).",
                "Check hostup.base_url, this machine's clock and its certificate store.",
            )
        cause = cause.__cause__ or cause.__context__
    return NotSent(f"{origin} cannot be reached ({_reason(error)}).", _CHECK_NETWORK)


def _reason(error: BaseException) -> str:
    """The system's reason. The library's own text is left out: it may quote a proxy's URL."""
    todo: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while todo:
        cause = todo.pop()
        if cause is None or cause in seen:
            continue
        seen.append(cause)
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        inner = cast("BaseExceptionGroup", cause).exceptions if _is_group(cause) else ()
        todo += [cause.__context__, cause.__cause__, *inner]
    return "all attempts failed"


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _status(error: httpx.ProxyError) -> str:
    """The status that a proxy answered with, if any. Its reason is left out: it may be any text."""
    status = str(error)[:3]
    return f" (HTTP {status})" if status.isascii() and status.isdigit() else ""


def _variables() -> str:
    return " or ".join(proxies.named()) or "the system's settings"


def _no_proxy(names: Sequence[str]) -> NotSent:
    where = " and ".join(names) or "the system's settings"
    return NotSent(f"The proxy in {where} cannot be used (value not shown).", proxies.ADVICE)


def _no_certificates() -> NotSent:
    return NotSent(
        "The trusted certificates cannot be read.",
        "Check SSL_CERT_FILE and SSL_CERT_DIR, and this machine's certificate store.",
    )
