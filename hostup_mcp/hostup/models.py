"""HostUp's documented schemas, as frozen models.

Names and types are those of the pages named in each docstring. Everything is read tolerantly:
a field that is absent or null is None, an unknown field is ignored, an unknown value of an
enumeration is kept as it is.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

COMMAND_MAX_CHARACTERS = 4096
"""Longest command, in characters (post-v2-vps-id-agent-exec; the unit is not documented)."""

LIST_LIMIT_MAX = 100
"""Largest `limit` of the list (get-v2-vps)."""

PowerState = (
    Literal[
        "running",
        "stopped",
        "starting",
        "stopping",
        "paused",
        "provisioning",
        "error",
        "unknown",
    ]
    | str
)
ServiceStatus = (
    Literal[
        "active",
        "suspended",
        "terminated",
        "pending",
        "cancelled",
        "expired",
        "fraud",
        "unknown",
    ]
    | str
)
BillingCycle = (
    Literal[
        "monthly",
        "quarterly",
        "semiannually",
        "annually",
        "biennially",
        "triennially",
        "free",
    ]
    | str
)


class HostUpModel(BaseModel):
    """Base of all: camelCase on the wire, frozen, tolerant of fields we do not know."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class OperatingSystem(HostUpModel):
    """`operatingSystem` of a VPS (page get-v2-vps-id)."""

    display_name: str | None = None
    family: str | None = None
    version: str | None = None
    variant: str | None = None


class Resources(HostUpModel):
    """`resources` of a VPS: cores, and sizes in GB (page get-v2-vps-id)."""

    cpu_cores: float | None = None
    memory_gb: float | None = None
    storage_gb: float | None = None


class Billing(HostUpModel):
    """`billing` of a VPS (page get-v2-vps-id)."""

    amount: float | None = None
    currency_code: str | None = None
    billing_cycle: BillingCycle | None = None
    is_payg: bool | None = None
    period_years: int | None = None


class Vps(HostUpModel):
    """One VPS, the same shape in the list and alone (pages get-v2-vps and get-v2-vps-id).

    The pages mark the top-level fields optional; without an `id` an item is of no use, so it is
    required here. `bandwidth` and further fields exist, their names are not documented.
    """

    id: str
    name: str | None = None
    primary_ip: str | None = None
    service_status: ServiceStatus | None = None
    power_state: PowerState | None = None
    operating_system: OperatingSystem | None = None
    billing: Billing | None = None
    resources: Resources | None = None


class VpsPage(HostUpModel):
    """One page of the list (page get-v2-vps).

    `nextCursor` is opaque. What stands there at the end is not documented: absent, null and
    an empty string are all read as the end.
    """

    data: tuple[Vps, ...]
    next_cursor: str | None = None


class Usage(HostUpModel):
    """`memory` and `storage` of a status: GB and percent (page get-v2-vps-id-status)."""

    used_gb: float | None = None
    total_gb: float | None = None
    usage_percent: float | None = None


class Network(HostUpModel):
    """`network` of a status: GB (page get-v2-vps-id-status)."""

    inbound_gb: float | None = None
    outbound_gb: float | None = None
    total_gb: float | None = None


class VpsStatus(HostUpModel):
    """Live status of a VPS (page get-v2-vps-id-status). `pendingTasks` is not documented whole."""

    id: str | None = None
    power_state: PowerState | None = None
    uptime_seconds: float | None = None
    cpu_usage_percent: float | None = None
    cpu_cores: float | None = None
    memory: Usage | None = None
    storage: Usage | None = None
    network: Network | None = None


class AgentAvailability(HostUpModel):
    """Whether commands can be run now (page get-v2-vps-id-agent-exec, without `pid`).

    All fields are marked optional. Whether `available` tests more than a ping of the agent is
    not documented; only an explicit true counts as available.
    """

    available: bool | None = None
    reason: str | None = None
    vm_running: bool | None = None


class StartedCommand(HostUpModel):
    """Reply to a started command (page post-v2-vps-id-agent-exec).

    `pollUrl` is not read: the address is built from id and pid, so that no reply can send the
    key elsewhere. `pid` is marked optional; a reply without it leaves the outcome unknown.
    """

    pid: int | None = Field(default=None, gt=0, lt=2**63)


_Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def _text(value: object) -> object:
    return "" if value is None else value


_Text = Annotated[str, BeforeValidator(_text)]


class CommandState(HostUpModel):
    """State of a command (page get-v2-vps-id-agent-exec, with `pid`).

    This schema is not documented. `exited`, `stdout`, `stderr` and `exitCode` are named on other
    pages; the older API's `exitcode` and the guest agent's own `out-data`, `err-data`, `signal`
    and truncation marks are accepted too. A null stream is empty. `exited` without an exit code
    means an abnormal end, never success. Where `exited` is missing, an exit code or a signal
    stands for it; a reply that has none of the known fields is an error.
    """

    exited: bool
    exit_code: _Int64 | None = Field(
        default=None, validation_alias=AliasChoices("exitCode", "exitcode", "exit_code")
    )
    signal: _Int64 | None = None
    stdout: _Text = Field(default="", validation_alias=AliasChoices("stdout", "out-data"))
    stderr: _Text = Field(default="", validation_alias=AliasChoices("stderr", "err-data"))
    stdout_truncated: bool | None = Field(
        default=None, validation_alias=AliasChoices("out-truncated", "outTruncated")
    )
    stderr_truncated: bool | None = Field(
        default=None, validation_alias=AliasChoices("err-truncated", "errTruncated")
    )

    @model_validator(mode="before")
    @classmethod
    def _infer_exited(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("exited") is not None:  # pyright: ignore[reportUnknownMemberType]
            return cast("object", data)
        fields = cast("dict[str, object]", data)
        if not fields.keys() & _STATE_FIELDS:
            return fields
        ended = any(fields.get(key) is not None for key in ("exitCode", "exitcode", "signal"))
        return {**fields, "exited": ended}


_STATE_FIELDS = {"pid", "exitCode", "exitcode", "signal", "stdout", "stderr"}


class CommandRequest(HostUpModel):
    """Body of the request that starts a command (page post-v2-vps-id-agent-exec)."""

    command: str = Field(min_length=1, max_length=COMMAND_MAX_CHARACTERS)


class ProblemField(HostUpModel):
    """One entry of a problem's `errors[]` (page /errors)."""

    pointer: _Text = ""
    detail: _Text = ""
    code: _Text = ""


class Problem(HostUpModel):
    """An RFC 7807 Problem Details document (page /errors).

    The older API's `message` is accepted for `detail`. `extensions` is not documented.
    """

    type: _Text = ""
    title: _Text = ""
    status: int | None = None
    detail: _Text = Field(default="", validation_alias=AliasChoices("detail", "message"))
    code: _Text = ""
    instance: _Text = ""
    request_id: _Text = ""
    timestamp: _Text = ""
    errors: tuple[ProblemField, ...] = ()
