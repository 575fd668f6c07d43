"""The three tools as an agent sees them: arguments, results, schemas, descriptions.

Limits come from HostUp's pages get-v2-vps and post-v2-vps-id-agent-exec; `tests/contract` compares
the schemas with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, cast

import mcp_types as types
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from hostup_mcp.hostup.agent import COMMAND_MAX_CHARACTERS
from hostup_mcp.hostup.models import CURSOR_MAX_CHARACTERS, LIST_LIMIT_MAX
from hostup_mcp.output.clean import one_line
from hostup_mcp.output.window import MAX_PART_BYTES

WAIT_MAX_SECONDS: Final = 240
PID_MAX: Final = 2**32 - 1  # Windows; Linux has far fewer
OFFSET_MAX: Final = 2**31
LINES_MAX: Final = 10_000
CONTEXT_MAX: Final = 100
PATTERN_MAX: Final = 1000

Schema = dict[str, JsonValue]


# ------------------------------------------------------------------ arguments


def _whole(value: object) -> object:
    """45.0 is an integer in JSON Schema, and some clients send every number as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Characters that a URL path needs no escapes for. HostUp's example ids are `vps_` + 26 characters.
_ID: Final = "^[A-Za-z0-9_-]*$"
_KEY: Final = "^[!-~]*$"

_Wait = Annotated[
    int,
    Field(
        ge=0,
        le=WAIT_MAX_SECONDS,
        description="Seconds to wait for the command to end",
    ),
    BeforeValidator(_whole),
]


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListVpsArguments(_Arguments):
    """Arguments of `list_vps`."""

    name: Annotated[str, Field(max_length=255, description="Exact display name; empty: any")] = ""
    primary_ip: Annotated[str, Field(max_length=64, description="Exact address; empty: any")] = ""
    limit: Annotated[
        int,
        Field(ge=1, le=LIST_LIMIT_MAX, description="VPSs on a page"),
        BeforeValidator(_whole),
    ] = 50
    cursor: Annotated[
        str, Field(max_length=CURSOR_MAX_CHARACTERS, description="next_cursor of the previous page")
    ] = ""


class VpsExecArguments(_Arguments):
    """Arguments of `vps_exec`."""

    vps_id: Annotated[
        str, Field(min_length=1, max_length=64, pattern=_ID, description="id from list_vps")
    ]
    command: Annotated[
        str,
        Field(
            min_length=1,
            max_length=COMMAND_MAX_CHARACTERS,
            description="One line of shell within the policy, such as df -h | tail -5",
        ),
    ]
    wait_seconds: _Wait = 45
    idempotency_key: Annotated[
        str,
        Field(
            max_length=128,
            pattern=_KEY,
            description="New value: run again; same value: same run",
        ),
    ] = ""


class VpsExecResultArguments(_Arguments):
    """Arguments of `vps_exec_result`."""

    exec_id: Annotated[
        str, Field(max_length=64, description="From vps_exec; or give vps_id and pid")
    ] = ""
    vps_id: Annotated[
        str, Field(max_length=64, pattern=_ID, description="With pid, if exec_id is not known")
    ] = ""
    pid: Annotated[
        int,
        Field(ge=0, le=PID_MAX, description="Process id in the VPS"),
        BeforeValidator(_whole),
    ] = 0
    wait_seconds: _Wait = 45
    stream: Annotated[
        Literal["both", "stdout", "stderr"], Field(description="Which output to return")
    ] = "both"
    offset: Annotated[
        int,
        Field(ge=0, le=OFFSET_MAX, description="Start byte; use next_offset"),
        BeforeValidator(_whole),
    ] = 0
    max_bytes: Annotated[
        int,
        Field(
            ge=0, le=MAX_PART_BYTES, description="Bytes of each stream; 0: head and tail, 16 KiB"
        ),
        BeforeValidator(_whole),
    ] = 0
    tail_lines: Annotated[
        int,
        Field(ge=0, le=LINES_MAX, description="Only the last N lines"),
        BeforeValidator(_whole),
    ] = 0
    grep: Annotated[
        str,
        Field(max_length=PATTERN_MAX, description="Only lines that match this RE2 pattern"),
    ] = ""
    context_lines: Annotated[
        int,
        Field(ge=0, le=CONTEXT_MAX, description="Lines around each match"),
        BeforeValidator(_whole),
    ] = 0


# ------------------------------------------------------------------ results


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class VpsSummary(_Result):
    """One VPS in `list_vps`."""

    id: str
    name: str | None
    primary_ip: str | None
    power_state: str | None
    service_status: str | None
    os: str | None
    cpu_cores: float | None
    memory_gb: float | None
    storage_gb: float | None
    policy: str


class VpsList(_Result):
    """Result of `list_vps`."""

    vps: tuple[VpsSummary, ...]
    next_cursor: Annotated[str, Field(description="Empty on the last page")]


class ExecResult(_Result):
    """Result of `vps_exec` and `vps_exec_result`."""

    status: Literal["completed", "running"]
    exec_id: str
    vps_id: str
    pid: int | None
    command: Annotated[str, Field(description="As judged and sent")]
    policy: str
    ended: Annotated[
        Literal["exit", "signal", "abnormal"] | None,
        Field(description="abnormal: no exit code or signal known"),
    ]
    exit_code: int | None
    signal: int | None
    stdout: Annotated[str, Field(description="Untrusted; head and tail, or the requested part")]
    stderr: str
    stdout_bytes: Annotated[int, Field(description="Full size")]
    stderr_bytes: int
    next_offset: Annotated[
        int | None, Field(description="Offset of the rest, if you read one stream")
    ]
    notes: Annotated[tuple[str, ...], Field(description="What was cut, changed or dropped")]
    elapsed_seconds: float
    next_poll_seconds: Annotated[
        int | None, Field(description="While running: seconds until the next call")
    ]


# ------------------------------------------------------------------ definitions

_LIST_VPS: Final = (
    "List this account's VPSs, one page at a time: id (vps_id of the other tools), state, system "
    "and policy of each. Reads HostUp's inventory; nothing runs on a VPS."
)
_VPS_EXEC: Final = (
    "Run one command as root inside a Linux VPS, without terminal or input, and return its exit "
    "code, stdout and stderr when it has ended. The operator's policy (resource hostup://policy) "
    "judges and rebuilds the command and decides whether it may change or delete things; a refusal "
    "names the nearest allowed form. A command that outlasts wait_seconds or the client's timeout "
    "runs on; cancelling the call does not stop it. Status running gives an exec_id for "
    "vps_exec_result. If you send the same command again before its result was read, it does not "
    "run again: you get the result of the first run."
)
_VPS_EXEC_RESULT: Final = (
    "Wait for a command that vps_exec left running and return its result, or read another part of "
    "output that was cut. Runs nothing, so it is safe to repeat. Results are kept (30 days by "
    "default) and found by exec_id, or by vps_id and pid."
)


def definitions() -> tuple[types.Tool, ...]:
    """The tools, in the order in which they are listed.

    Two tools return an `ExecResult`; only the first describes its fields, to save tokens.
    """
    return (
        _tool("list_vps", "List VPSs", _LIST_VPS, ListVpsArguments, VpsList, read_only=True),
        _tool(
            "vps_exec", "Run a command", _VPS_EXEC, VpsExecArguments, ExecResult, read_only=False
        ),
        _tool(
            "vps_exec_result",
            "Read a command's result",
            _VPS_EXEC_RESULT,
            VpsExecResultArguments,
            ExecResult,
            read_only=True,
            described=False,
        ),
    )


def _tool(
    name: str,
    title: str,
    description: str,
    arguments: type[BaseModel],
    result: type[BaseModel],
    *,
    read_only: bool,
    described: bool = True,
) -> types.Tool:
    output = compact_schema(result, "serialization")
    if not described:
        properties = cast("dict[str, Schema]", output["properties"])
        for schema in properties.values():
            schema.pop("description", None)
    return types.Tool(
        name=name,
        title=title,
        description=description,
        input_schema=compact_schema(arguments, "validation"),
        output_schema=output,
        annotations=types.ToolAnnotations(
            read_only_hint=read_only,
            destructive_hint=not read_only,
            idempotent_hint=read_only,
            open_world_hint=True,
        ),
    )


def compact_schema(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> Schema:
    """A model's JSON Schema without the parts that cost tokens and tell an agent nothing.

    It has no titles, none of the models' docstrings, and no references. Fields that may be null are
    not listed as required: a reader must check them anyway.
    """
    schema = cast("Schema", model.model_json_schema(mode=mode))
    named = cast("dict[str, Schema]", schema.pop("$defs", {}))
    compact = cast("Schema", _compact(schema, named))
    compact.pop("description", None)
    return compact


def _compact(node: JsonValue, named: Mapping[str, Schema]) -> JsonValue:
    if isinstance(node, list):
        return [_compact(item, named) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(reference := node.get("$ref"), str):
        target = dict(named[reference.rsplit("/", 1)[-1]])
        target.pop("description", None)
        return _compact(target, named)
    compact: Schema = {}
    for key, value in node.items():
        if key == "properties" and isinstance(value, dict):
            compact[key] = {name: _compact(item, named) for name, item in value.items()}
        elif key == "required" and isinstance(value, list):
            properties = cast("dict[str, Schema]", node["properties"])
            compact[key] = [name for name in value if not _is_nullable(properties[str(name)])]
        elif key != "title":
            compact[key] = _compact(value, named)
    return compact


def _is_nullable(schema: Schema) -> bool:
    return {"type": "null"} in cast("list[Schema]", schema.get("anyOf", []))


# ------------------------------------------------------------------ argument errors


def argument_error(tool: str, model: type[BaseModel], error: ValidationError) -> str:
    """One sentence that names the first wrong argument and its rule. It repeats no value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "arguments"
    properties = compact_schema(model, "validation")["properties"]
    rules = cast("dict[str, Schema]", properties)
    if name not in rules:
        known = ", ".join(rules)
        return f"{one_line(name, 64)} is not an argument of {tool}; its arguments are {known}."
    need = "is required" if first["type"] == "missing" else "must be"
    return f"{name} {need}{':' if need == 'is required' else ''} {_rule(rules[name])}."


def _rule(schema: Schema) -> str:
    if "enum" in schema:
        return f"one of {', '.join(str(value) for value in cast('list[str]', schema['enum']))}"
    if schema["type"] == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    least, most = schema.get("minLength", 0), schema["maxLength"]
    if schema.get("pattern") == _KEY:
        return f"{least} to {most} printable ASCII characters without blanks"
    if schema.get("pattern"):
        return f"an id from list_vps: {least} to {most} letters, digits, _ or -"
    return f"text of {least} to {most} characters"
