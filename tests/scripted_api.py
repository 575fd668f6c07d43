"""A real HTTP server on loopback that answers what a test tells it to, well formed or not."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    """What to send back. `cut` bytes are withheld, `delay` seconds pass first."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: int = 0
    delay: float = 0.0
    hang_up: bool = False


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client_port: int = 0


def json_answer(document: object, status: int = 200, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), names)


def problem(status: int, code: str, detail: str = "Something.", **more: Any) -> dict[str, Any]:
    """A Problem Details document as HostUp documents it."""
    return {
        "type": f"https://developer.hostup.se/errors/{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": "/api/v2/resource",
        "requestId": "req_01hxa3b4c5d6e7f8g9h0j1k2m3",
        "timestamp": "2026-04-27T12:34:56.000Z",
        **more,
    }


Script = Callable[[Received], Answer]
_MACHINE = re.compile(r"/api/v2/vps/([^/?]+)")


class _Server(ThreadingHTTPServer):
    clock_ahead_seconds = 0.0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of many tests


class _Dated(BaseHTTPRequestHandler):
    def date_time_string(self, timestamp: float | None = None) -> str:
        assert isinstance(self.server, _Server)
        now = time.time() if timestamp is None else timestamp
        return super().date_time_string(int(now + self.server.clock_ahead_seconds))


class ScriptedApi:
    """Answers every request by `script`, and keeps what it received.

    What a VPS is, which is asked before every first command, is answered beside that while
    `describes_machines` holds.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.script: Script = lambda _: Answer(500)
        self.received: list[Received] = []
        self.describes_machines = True
        api = self

        class Handler(_Dated):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                received = Received(
                    self.command,
                    self.path,
                    dict(self.headers),
                    self.rfile.read(length),
                    self.client_address[1],
                )
                if api.describes_machines and (machine := _MACHINE.fullmatch(self.path)):
                    answer = json_answer(
                        {"id": machine[1], "operatingSystem": {"family": "debian"}}
                    )
                else:
                    api.received.append(received)
                    answer = api.script(received)
                if answer.delay:
                    api.closing.wait(answer.delay)
                if answer.hang_up:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) - answer.cut])
                if answer.cut:
                    self.close_connection = True

            do_GET = handle_any  # noqa: N815 - the library's name
            do_POST = handle_any  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def set_clock_ahead(self, seconds: float) -> None:
        """Have it date its answers so much later."""
        self._server.clock_ahead_seconds = seconds

    def always(self, answer: Answer) -> None:
        """Give this answer to every request from now on."""
        self.received.clear()
        self.script = lambda _: answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
