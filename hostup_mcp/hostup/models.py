"""HostUp's documented schemas of VPSs and errors, as frozen models.

Names and types come from the pages named in each docstring. Reading is tolerant: a field that is
absent or null is None, an unknown field is ignored, and an unknown value of an enumeration is kept.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic.alias_generators import to_camel

LIST_LIMIT_MAX = 100
"""Largest `limit` of the list (get-v2-vps)."""

CURSOR_MAX_CHARACTERS = 2048
"""The longest cursor that is passed on; HostUp documents no length."""

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
    """Base of all models: camelCase in JSON, frozen, ignores unknown fields."""

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
    """One VPS, the same in the list and alone (pages get-v2-vps and get-v2-vps-id).

    The pages mark the top-level fields optional. A VPS without an `id` is useless, so it is
    required here. `bandwidth` and more fields exist, but their names are not documented.
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

    `nextCursor` is opaque. HostUp does not document its value on the last page: absent, null and an
    empty string all count as the end.
    """

    data: tuple[Vps, ...]
    next_cursor: Annotated[str, Field(max_length=CURSOR_MAX_CHARACTERS)] | None = None


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
    """Live status of a VPS (page get-v2-vps-id-status). `pendingTasks` is not fully documented."""

    id: str | None = None
    power_state: PowerState | None = None
    uptime_seconds: float | None = None
    cpu_usage_percent: float | None = None
    cpu_cores: float | None = None
    memory: Usage | None = None
    storage: Usage | None = None
    network: Network | None = None


def _text(value: object) -> object:
    return "" if value is None else value


_Text = Annotated[str, BeforeValidator(_text)]


class ProblemField(HostUpModel):
    """One entry of a problem's `errors[]` (page /errors)."""

    pointer: _Text = ""
    detail: _Text = ""
    code: _Text = ""


class Problem(HostUpModel):
    """An RFC 7807 Problem Details document (page /errors).

    The older API's `message` is accepted for `detail`, and its `retryAfter`, in seconds, is read
    too. `extensions` is not documented.
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
    retry_after: float | None = None
