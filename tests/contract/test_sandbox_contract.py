"""schemathesis asks the sandbox whatever the contract allows, and much that it does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import schemathesis
import yaml
from hypothesis import HealthCheck, settings

from hostup_mcp.sandbox.api import READ, WRITE, SandboxApi
from hostup_mcp.sandbox.guests import Availability, Exit, UnknownPid
from hostup_mcp.sandbox.machines import DB, MAIL, WEB, fleet

KEY = "contract_key"


class EchoGuest:
    """Runs nothing: what is generated here must not reach a shell. The output is the command."""

    def __init__(self) -> None:
        self._pids = itertools.count(1)
        self._results: dict[int, Exit] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def availability(self) -> Availability:
        return Availability(available=True)

    async def start(self, command: str) -> int:
        pid = next(self._pids)
        self._results[pid] = Exit(0, None, command.encode("utf-8", "replace"), b"")
        return pid

    async def read(self, pid: int) -> Exit | None:
        try:
            return self._results.pop(pid)
        except KeyError:
            raise UnknownPid(f"PID {pid} does not exist") from None


api = SandboxApi(fleet(EchoGuest()), {KEY: frozenset({READ, WRITE})}, rate_limit=10**9)
contract = yaml.safe_load((Path(__file__).parent / "openapi.yaml").read_text())
# Every request below carries the key; one without it is a test of its own (test_sandbox.py).
del contract["security"]
schema = schemathesis.openapi.from_dict(contract)
schema.app = api.app


each_operation = cast("Callable[[Callable[[Any], None]], object]", schema.parametrize())  # pyright: ignore[reportUnknownMemberType]


@each_operation
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_the_sandbox_keeps_to_the_contract(case: Any) -> None:
    if case.path_parameters and len(str(case.path_parameters)) % 4:
        # Most generated ids name nothing; let many requests reach a VPS.
        case.path_parameters["id"] = (WEB, DB, MAIL)[len(str(case.query)) % 3]
    query = cast("dict[str, object] | None", case.query)
    if query and query.get("cursor"):
        # Opaque: only a cursor that the API gave is one, and it gives this.
        query["cursor"] = "ZnJvbTox"
    case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"})
