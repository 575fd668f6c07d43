"""Models, tools and sandbox, held against the documented endpoints in openapi.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from hostup_mcp.hostup import agent, models
from hostup_mcp.hostup.models import HostUpModel

Schema = dict[str, Any]

CONTRACT: Final[Schema] = yaml.safe_load((Path(__file__).parent / "openapi.yaml").read_text())
SCHEMAS: Final[dict[str, Schema]] = CONTRACT["components"]["schemas"]
SNAPSHOT: Final = Path(__file__).parent.parent / "tools_list.json"

# Read beside the documented names, as reference pages of the older API and of the agent name them.
TOLERATED: Final = {
    "CommandState": {"signal", "stdoutTruncated", "stderrTruncated", "refusal"},
    "Problem": {"retryAfter"},
}


def model(name: str) -> type[HostUpModel]:
    module = agent if hasattr(agent, name) else models
    return cast("type[HostUpModel]", getattr(module, name))


def wire_names(kind: type[HostUpModel]) -> dict[str, Any]:
    """JSON Schema of each field as read, by its documented (first) name."""
    return kind.model_json_schema(by_alias=True, mode="validation")["properties"]


def types_of(schema: Schema) -> set[str]:
    """The JSON types a schema takes; a reference counts by the name of what it names."""
    if "$ref" in schema:
        return {schema["$ref"].rsplit("/", 1)[-1]}
    if "anyOf" in schema:
        return {kind for item in schema["anyOf"] for kind in types_of(item)}
    if "const" in schema or "enum" in schema:
        return {"string"}
    kind: str | list[str] = schema["type"]
    return {kind} if isinstance(kind, str) else set(kind)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_model_has_exactly_the_documented_fields(name: str) -> None:
    documented = {
        key for key, rule in SCHEMAS[name]["properties"].items() if "x-not-read" not in rule
    }
    assert set(wire_names(model(name))) - TOLERATED.get(name, set()) == documented


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_model_takes_the_documented_types_and_null_where_that_is_allowed(name: str) -> None:
    fields = wire_names(model(name))
    required = model(name).model_json_schema(by_alias=True).get("required", [])
    for key, rule in SCHEMAS[name]["properties"].items():
        if "x-not-read" in rule:
            continue
        taken = types_of(fields[key])
        documented = types_of(rule)
        if rule.get("x-read-as-null-too"):
            documented.add("null")
        assert taken == documented, key
        assert (key in required) <= (key in SCHEMAS[name].get("required", [])), key
        if "maxLength" in rule:
            assert fields[key]["maxLength"] == rule["maxLength"]
            assert fields[key]["minLength"] == rule["minLength"]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_model_names_the_documented_values_and_keeps_others(name: str) -> None:
    for key, rule in SCHEMAS[name]["properties"].items():
        if "x-values" not in rule:
            continue
        field = wire_names(model(name))[key]
        named = next(item["enum"] for item in field["anyOf"] if "enum" in item)
        assert named == rule["x-values"]
        seed: dict[str, Any] = {"id": "vps_1"} if name == "Vps" else {}
        read = model(name).model_validate({**seed, key: "something-new"})
        assert read.model_dump(by_alias=True)[key] == "something-new"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_model_names_its_page(name: str) -> None:
    page = SCHEMAS[name]["x-page"]
    text = " ".join((model(name).__doc__ or "").split())
    assert page.removesuffix("/invalid_request") in text


def test_the_tools_inputs_keep_to_the_documented_limits() -> None:
    tools = {tool["name"]: tool for tool in json.loads(SNAPSHOT.read_text())}
    paths = CONTRACT["paths"]
    query = {item["name"]: item["schema"] for item in paths["/api/v2/vps"]["get"]["parameters"]}
    ours = tools["list_vps"]["inputSchema"]["properties"]
    for name, documented in (
        ("limit", "limit"),
        ("cursor", "cursor"),
        ("name", "name"),
        ("primary_ip", "primaryIp"),
    ):
        assert ours[name]["type"] == query[documented]["type"]
        for limit in ("minimum", "maximum"):
            assert ours[name].get(limit) == query[documented].get(limit)
    command = SCHEMAS["CommandRequest"]["properties"]["command"]
    taken = tools["vps_exec"]["inputSchema"]["properties"]["command"]
    assert {key: taken[key] for key in command} == command
    assert tools["vps_exec"]["inputSchema"]["required"] == ["vps_id", "command"]


def test_the_tools_outputs_come_from_documented_fields() -> None:
    tools = {tool["name"]: tool for tool in json.loads(SNAPSHOT.read_text())}
    item = tools["list_vps"]["outputSchema"]["properties"]["vps"]["items"]["properties"]
    known = set(SCHEMAS["Vps"]["properties"]) | set(SCHEMAS["Resources"]["properties"])
    for name in set(item) - {"os", "policy"}:
        head, *rest = name.split("_")
        assert head + "".join(word.capitalize() for word in rest) in known
    assert "operatingSystem" in known


def test_every_operation_names_its_page_and_scope() -> None:
    for path in CONTRACT["paths"].values():
        for method in ("get", "post"):
            if method in path:
                assert path[method]["x-page"].startswith(f"{method}-v2-vps")
                assert "vm" in path[method]["x-scope"]
