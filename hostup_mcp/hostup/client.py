"""The documented HostUp endpoints this project uses, one method each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, SecretStr, ValidationError

from hostup_mcp.hostup import replies
from hostup_mcp.hostup.agent import (
    AgentAvailability,
    CommandRequest,
    CommandState,
    StartedCommand,
)
from hostup_mcp.hostup.errors import ApiKeyMissing, ReplyTooLarge
from hostup_mcp.hostup.http import MAX_REPLY_BYTES, MAX_RESULT_BYTES, HttpTransport
from hostup_mcp.hostup.models import Vps, VpsPage, VpsStatus
from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.hostup.pacing import UNTOLD, parse_rate_limit

_Model = TypeVar("_Model", bound=BaseModel)

_VPS = "/api/v2/vps"


class _Need(NamedTuple):
    """The scope that a call needs, and what the call is for."""

    scope: str
    purpose: str


_LIST = _Need("read:vm", "listing VPSs")
_LOOK_UP = _Need("read:vm", "looking up a VPS")
_STATUS = _Need("read:vm", "asking for a VPS's status")
_PROBE = _Need("read:vm", "asking whether a VPS accepts commands")
_START = _Need("write:vm", "starting a command")
_RESULT = _Need("write:vm", "reading a command's result")


class HostUpClient:
    """HostUp's API v2, with one key, at one origin.

    Every method may raise a `HostUpError`; its class is the kind of the error. No method retries.
    """

    def __init__(
        self,
        http: HttpTransport,
        api_key: SecretStr | None,
        pacer: Pacer | None = None,
        key_fault: str = "",
    ) -> None:
        """The client.

        Args:
            http: sends to the API's origin.
            api_key: the key; without one every method raises `ApiKeyMissing`.
            pacer: paces all requests of this process with this key.
            key_fault: why the text given as the key is not one, as a sentence; empty otherwise.
        """
        self._http = http
        self._api_key = api_key
        self._pacer = pacer or Pacer()
        self._key_fault = key_fault

    @property
    def waiting_seconds(self) -> float:
        """How many seconds the next request must wait, at least."""
        return self._pacer.waiting_until()

    def on_own_connection(self) -> HostUpClient:
        """A client with the same API, key and pacer, over one connection that nobody else uses.

        Send its requests one after another, and close it after use.
        """
        http = self._http.own_connection()
        return HostUpClient(http, self._api_key, self._pacer, self._key_fault)

    @property
    def is_connected(self) -> bool:
        """Whether a connection was made, and not closed since."""
        return self._http.is_open

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def list_vps(
        self,
        *,
        limit: int | None = None,
        cursor: str = "",
        name: str = "",
        primary_ip: str = "",
        include: Sequence[str] = (),
    ) -> VpsPage:
        """One page of `GET /api/v2/vps` (scope `read:vm`; page get-v2-vps).

        Args:
            limit: items on the page, 1 to 100; HostUp's default is not documented.
            cursor: `next_cursor` of the previous page; empty for the first.
            name: exact display name, in any letter case; empty for all.
            primary_ip: exact address; empty for all.
            include: the only documented value is `pendingMaintenance`.

        Returns:
            The page. Its `next_cursor` is None at the end, also if HostUp repeats the cursor.
        """
        query: list[tuple[str, str]] = []
        if limit is not None:
            query.append(("limit", str(limit)))
        if cursor:
            query.append(("cursor", cursor))
        if name:
            query.append(("name", name))
        if primary_ip:
            query.append(("primaryIp", primary_ip))
        query.extend(("include", value) for value in include)
        page = await self._send(VpsPage, _LIST, "GET", _VPS, query=query)
        if not page.next_cursor or page.next_cursor == cursor:
            return VpsPage(data=page.data, next_cursor=None)
        return page

    async def get_vps(self, vps_id: str) -> Vps:
        """`GET /api/v2/vps/{id}` (scope `read:vm`; page get-v2-vps-id)."""
        return await self._send(Vps, _LOOK_UP, "GET", _path(vps_id), vps_id)

    async def get_status(self, vps_id: str) -> VpsStatus:
        """`GET /api/v2/vps/{id}/status` (scope `read:vm`; page get-v2-vps-id-status)."""
        return await self._send(VpsStatus, _STATUS, "GET", _path(vps_id, "/status"), vps_id)

    async def get_availability(self, vps_id: str) -> AgentAvailability:
        """`GET /api/v2/vps/{id}/agent/exec` without `pid` (scope `read:vm`).

        Page get-v2-vps-id-agent-exec: run commands only while `available` is true.
        """
        path = _path(vps_id, "/agent/exec")
        return await self._send(AgentAvailability, _PROBE, "GET", path, vps_id)

    async def get_command(
        self, vps_id: str, pid: int, when_large: Callable[[], Awaitable[None]] | None = None
    ) -> CommandState:
        """`GET /api/v2/vps/{id}/agent/exec?pid=` (scope `write:vm`).

        The guest agent returns a result only once: whoever reads `exited` true must keep it.

        Args:
            vps_id: the VPS.
            pid: the command's process id.
            when_large: called once the reply is over 1 MiB; the rest is read after it returns.

        Raises:
            ServerFailure: also for a success status, if HostUp says `success: false` and no state.
        """
        query = [("pid", str(pid))]
        path = _path(vps_id, "/agent/exec")
        state = await self._send(
            CommandState,
            _RESULT,
            "GET",
            path,
            vps_id,
            query=query,
            max_bytes=MAX_RESULT_BYTES,
            when_large=when_large,
        )
        if state.refusal is not None:
            raise replies.refused(state.refusal)
        return state

    async def start_command(
        self, vps_id: str, command: str, when_turn: Callable[[], Awaitable[None]] | None = None
    ) -> StartedCommand:
        """`POST /api/v2/vps/{id}/agent/exec` (scope `write:vm`; page post-v2-vps-id-agent-exec).

        This is not idempotent: HostUp documents no deduplication. Only the runner calls it, with
        the text of an approved command.

        Args:
            vps_id: the VPS.
            command: 1 to 4096 characters.
            when_turn: called directly before the request is sent. If it raises, nothing is sent.

        Raises:
            ValidationError: the command is empty or longer.
        """
        body = CommandRequest(command=command).model_dump()
        path = _path(vps_id, "/agent/exec")
        return await self._send(
            StartedCommand, _START, "POST", path, vps_id, json_body=body, when_turn=when_turn
        )

    async def _send(
        self,
        model: type[_Model],
        need: _Need,
        method: str,
        path: str,
        vps_id: str = "",
        *,
        query: Sequence[tuple[str, str]] = (),
        json_body: Mapping[str, str] | None = None,
        max_bytes: int = MAX_REPLY_BYTES,
        when_large: Callable[[], Awaitable[None]] | None = None,
        when_turn: Callable[[], Awaitable[None]] | None = None,
    ) -> _Model:
        if self._api_key is None:
            raise ApiKeyMissing(
                self._key_fault or "No HostUp API key is configured.",
                "Set HOSTUP_API_KEY or HOSTUP_API_KEY_FILE where the server is started; keys are "
                "made at https://cloud.hostup.se/api-management.",
            )
        key = self._api_key.get_secret_value()
        async with self._pacer.turn(vps_id) as turn:

            async def pause() -> None:
                self._pacer.make_room(turn)
                if when_large is not None:
                    await when_large()

            if when_turn is not None:
                await when_turn()
            try:
                reply = await self._http.request(
                    method,
                    path,
                    headers={"Authorization": f"Bearer {key}"},
                    query=query,
                    json_body=json_body,
                    max_bytes=max_bytes,
                    when_large=pause,
                )
            except ReplyTooLarge as error:
                self._pacer.learn(turn, UNTOLD, error.status)
                raise
            now = datetime.now(UTC)
            rate_limit = parse_rate_limit(reply.headers, now)
            self._pacer.learn(turn, rate_limit, reply.status)
        document = replies.read(
            reply,
            secret=key,
            scope=need.scope,
            purpose=need.purpose,
            now=now,
            rate_limit=rate_limit,
        )
        try:
            return model.model_validate(document)
        except ValidationError as error:
            raise replies.wrong_types(reply, error) from None


def _path(vps_id: str, rest: str = "") -> str:
    return f"{_VPS}/{quote(vps_id, safe='')}{rest}"
