"""A proxy between server and sandbox that does to chosen requests what a network can do.

Real sockets on both sides. It reads each request whole, knows what it asks for, counts it, and
keeps what it did: whether the sandbox got the request, and whether a result that the guest handed
out went to the server whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from tests.faults import wire
from tests.faults.plans import NOT_FORWARDED, REPLACED, FaultName, Plan, Record
from tests.faults.wire import Request

_ASK_AGAIN_SECONDS: Final = 0.01

_Value = TypeVar("_Value")


class Proxy:
    """The proxy in a thread of its own, as a context manager.

    Attributes:
        upstream: the sandbox's host and port.
        plans: what to do, by VPS; requests for others pass.
        records: what was done, by VPS.
    """

    def __init__(self, upstream: str, refusals: Callable[[], int] = lambda: 0) -> None:
        """A proxy that is not started yet.

        Args:
            upstream: the sandbox's origin.
            refusals: how many connections the server was refused so far. The system refuses them
                itself, so the proxy cannot count them.
        """
        address = urlsplit(upstream)
        self.upstream = (address.hostname or "", address.port or 0)
        self._refusals = refusals
        self.plans: dict[str, Plan] = {}
        self.records: defaultdict[str, Record] = defaultdict(Record)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._door = asyncio.Lock()
        self._shuts = 0
        self._port = 0
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The proxy's origin."""
        return f"http://127.0.0.1:{self._port}"

    def shut(self, refusals: int) -> None:
        """Take no connection until so many were refused, and close those that there are."""
        self._call(self._shut(refusals))

    def listen(self) -> None:
        """Take connections again now."""
        self._call(self._listen())

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *exception: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    # ------------------------------------------------------------------ the door

    async def _listen(self) -> None:
        async with self._door:
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
                self._port = self._server.sockets[0].getsockname()[1]

    async def _shut(self, refusals: int, besides: asyncio.StreamWriter | None = None) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        others = self._clients - {besides}
        for client in others:
            client.close()
        await asyncio.gather(*(c.wait_closed() for c in others), return_exceptions=True)
        self._shuts += 1
        self._spawn(self._reopen(self._shuts, self._refusals() + refusals))

    async def _reopen(self, shut: int, refusals: int) -> None:
        """Listen again after so many refusals, unless that was done, and even undone, before."""
        while self._refusals() < refusals and self._server is None:  # noqa: ASYNC110 - a file
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        if shut == self._shuts:
            await self._listen()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._serve(reader, writer))

    # ------------------------------------------------------------------ one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        exchange = _Exchange(self, reader, writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while raw := await wire.read_message(reader):
                    if not await exchange.answer(wire.recognise(raw)):
                        break
        finally:
            self._clients.discard(writer)
            writer.close()

    async def shut_after(self, request: Request, client: asyncio.StreamWriter) -> bool:
        """Shut the door if the plan has it shut after this request; whether it did."""
        plan = self.plans.get(request.vps_id)
        number = self.records[request.vps_id].seen[request.kind]
        if plan is None or plan.shut_after != (request.kind, number):
            return False
        await self._shut(plan.refusals, client)
        self.records[request.vps_id].done["refuse"] += plan.refusals
        return True


async def _ask(address: tuple[str, int], raw: bytes) -> bytes:
    """Send a request to the sandbox, over a connection of its own, and read the whole reply."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(raw)
        reply = await wire.read_message(reader)
    finally:
        writer.close()
    if not reply:
        raise ConnectionError("the sandbox does not answer")
    return reply


class _Exchange:
    """Requests of one client connection, one after the other."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer

    async def answer(self, request: Request) -> bool:
        """Answer a request, or do what the plan says; whether the connection goes on."""
        record = self._proxy.records[request.vps_id]
        record.seen[request.kind] += 1
        number = record.seen[request.kind]
        plan = self._proxy.plans.get(request.vps_id, Plan())
        rules = (rule for rule in plan.rules if rule.holds_for(request.kind, number))
        rule = next(rules, None)
        if rule is None:
            reply = await self._forward(request, record, plan, number)
            goes_on = not await self._proxy.shut_after(request, self._writer)
            if not goes_on:
                reply = wire.last(reply)
            return await self._deliver(request, record, reply) and goes_on
        goes_on = not await self._proxy.shut_after(request, self._writer)
        record.done[rule.fault] += 1
        return await self._do(rule.fault, request, record, plan, number) and goes_on

    async def _do(
        self, fault: FaultName, request: Request, record: Record, plan: Plan, number: int
    ) -> bool:
        if reply := NOT_FORWARDED.get(fault):
            return await self._write(reply)
        if fault in ("reset_before", "hang_up_before"):
            return self._break(reset=fault == "reset_before")
        if fault == "late_request":
            await self._client_has_gone()
        reply = await self._forward(request, record, plan, number)
        if fault == "late_reply":
            await self._client_has_gone()
        if fault in ("reset_after", "hang_up_after"):
            return self._break(reset=fault == "reset_after")
        if fault == "duplicate_joined":
            return await self._deliver(request, record, reply, reply)
        goes_on = True
        if fault == "duplicate_apart":
            goes_on = await self._deliver(request, record, reply)
        elif fault in ("cut_in_head", "cut_in_body"):
            in_head, in_body = wire.halves(reply)
            reply, goes_on = (in_head if fault == "cut_in_head" else in_body), False
        return await self._write(REPLACED.get(fault, reply)) and goes_on

    async def _forward(self, request: Request, record: Record, plan: Plan, number: int) -> bytes:
        """What the sandbox says; of a poll by which the command has ended, once it has."""
        record.started += request.kind == "start"
        is_poll = request.kind == "poll"
        is_end = is_poll and plan.ends_at is not None and number >= plan.ends_at
        if is_end:
            plan.let_end()
        while True:
            reply = await _ask(self._proxy.upstream, request.raw)
            if wire.says_ended(reply):
                record.handed_out[request.pid] += 1
            record.denied += is_poll and not wire.is_ok(reply)
            if not is_end or wire.says_ended(reply) or not wire.is_ok(reply):
                return reply
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _deliver(
        self, request: Request, record: Record, reply: bytes, more: bytes = b""
    ) -> bool:
        """Send the sandbox's reply, and note a result that went out whole."""
        went_out = await self._write(reply + more)
        if went_out and wire.says_ended(reply):
            record.received[request.pid] += 1
        return went_out

    async def _write(self, data: bytes) -> bool:
        """Send; False if the client had gone before."""
        if self._reader.at_eof() or self._writer.is_closing():
            return False
        self._writer.write(data)
        with contextlib.suppress(OSError):
            await self._writer.drain()
        return not self._writer.is_closing()

    async def _client_has_gone(self) -> None:
        with contextlib.suppress(OSError):
            while await self._reader.read(4096):
                pass

    def _break(self, *, reset: bool) -> bool:
        if reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        return False
