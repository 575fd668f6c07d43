"""The tools that the suite calls by name, beside the real ones and through the same wiring.

A fixture that makes a task runs a command on the sandbox by way of `vps_exec`, so that it is our
own tasks, journal and runner that are examined.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError

from hostup_mcp.sandbox.machines import DB, WEB
from hostup_mcp.server import results, tasks
from hostup_mcp.server.progress import reporting
from hostup_mcp.server.service import Answer, Caller, ToolService

_ADDRESS: Final = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
# The suite looks for exactly this in tools/list.
_SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": _ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _properties(**kinds: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}


_FIXTURES: Final[dict[str, dict[str, Any]]] = {
    "test_simple_text": _properties(),
    "test_error_handling": _properties(),
    "test_tool_with_progress": _properties(),
    "test_missing_capability": _properties(),
    # What these two are for is seen in their streams: no request to the client, and no log.
    "test_streaming_elicitation": _properties(),
    "test_logging_tool": _properties(),
    "json_schema_2020_12_tool": _SCHEMA_2020_12,
    "greet": _properties(name="string"),
    "slow_compute": _properties(seconds="integer", label="string"),
    "failing_job": _properties(),
    # A task with questions elsewhere; asked for here because a check of other things begins so.
    "confirm_delete": _properties(filename="string"),
}


class FixtureService(ToolService):
    """The real tools and the suite's."""

    @property
    def tools(self) -> tuple[types.Tool, ...]:
        fixtures = (
            types.Tool(name=name, description=f"Fixture {name}", input_schema=schema)
            for name, schema in _FIXTURES.items()
        )
        return (*super().tools, *fixtures)

    async def call(self, name: str, arguments: dict[str, Any], caller: Caller) -> Answer:
        match name:
            case "slow_compute":
                return await self._run(WEB, f"sleep {arguments['seconds']}", caller)
            case "failing_job":
                if not caller.takes_tasks:
                    raise tasks.not_declared()
                return await self._run(DB, "uptime", caller)
            case _ if name in _FIXTURES:
                return await _plain(name, arguments, caller)
            case _:
                return await super().call(name, arguments, caller)

    async def _run(self, vps_id: str, command: str, caller: Caller) -> Answer:
        key = secrets.token_hex(8)
        arguments = {"vps_id": vps_id, "command": command, "idempotency_key": key}
        return await super().call("vps_exec", arguments, caller)


async def _plain(name: str, arguments: dict[str, Any], caller: Caller) -> Answer:
    """Fixtures that answer once."""
    match name:
        case "test_error_handling":
            return results.error("fixture_failed", "This error is meant.", "Go on.")
        case "test_tool_with_progress":
            async with reporting(caller.send, lambda: "working"):
                await anyio.sleep(2.2)
            return _text("This took two seconds.")
        case "test_missing_capability":
            raise _needs(types.ClientCapabilities(sampling=types.SamplingCapability()))
        case "greet":
            return _text(f"Hello, {arguments['name']}!")
        case _:
            return _text("This is a simple text response for testing.")


def _text(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def _needs(capabilities: types.ClientCapabilities) -> MCPError:
    data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=capabilities)
    return MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        "The client lacks a capability.",
        data.model_dump(by_alias=True, mode="json", exclude_none=True),
    )
