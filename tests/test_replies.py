"""From a reply to a document or an error: every plausible body, and every implausible one."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.hostup import replies
from hostup_mcp.hostup.errors import (
    ApiError,
    Conflict,
    EdgeRefused,
    FieldError,
    Forbidden,
    InvalidRequest,
    MalformedReply,
    NotFound,
    RateLimited,
    ReplyError,
    ServerFailure,
    Unauthorized,
    UnexpectedStatus,
)
from hostup_mcp.hostup.http import Reply
from tests.scripted_api import problem

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SECRET = "hk_0123456789"


def read(status: int, body: bytes | object, **headers: str) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return replies.read(
        Reply(status, names, raw),
        secret=SECRET,
        scope="write:vm",
        purpose="starting a command",
        now=NOW,
    )


def error(status: int, body: bytes | object, **headers: str) -> ReplyError:
    with pytest.raises(ReplyError) as caught:
        read(status, body, **headers)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", InvalidRequest),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (403, "verification_failed", Forbidden),
        (404, "not_found", NotFound),
        (404, "vps_not_found", NotFound),
        (409, "vps_not_ready", Conflict),
        (409, "upstream_failed", Conflict),
        (418, "teapot", UnexpectedStatus),
        (429, "rate_limit_exceeded", RateLimited),
        (429, "rate_limited", RateLimited),
        (500, "internal_error", ServerFailure),
        (502, "external_provider_failed", ServerFailure),
        (503, "upstream_unavailable", ServerFailure),
    ],
)
def test_a_problem_becomes_its_class_and_keeps_its_facts(
    status: int, code: str, kind: type[ApiError]
) -> None:
    fault = error(status, problem(status, code, "Why."), retry_after="9")
    assert type(fault) is kind
    assert isinstance(fault, ApiError)
    assert (fault.status, fault.api_code, fault.detail) == (status, code, "Why.")
    assert fault.request_id == "req_01hxa3b4c5d6e7f8g9h0j1k2m3"
    assert fault.rate_limit
    assert fault.rate_limit.retry_after == 9
    assert code in fault.message
    assert "Why." in fault.message
    assert str(fault) == f"{fault.code}: {fault.message} {fault.advice}"


def test_the_field_errors_are_kept() -> None:
    body = problem(400, "invalid_request", errors=[{"pointer": "/a", "detail": "No.", "code": "c"}])
    fault = error(400, body)
    assert isinstance(fault, ApiError)
    assert fault.errors == (FieldError("/a", "No.", "c"),)


def test_an_older_error_is_read_too() -> None:
    body = {"error": "Bad Request", "message": "Blocked.", "code": "BAD_REQUEST", "requestId": "r"}
    fault = error(400, body)
    assert isinstance(fault, ApiError)
    assert (fault.api_code, fault.detail, fault.request_id) == ("BAD_REQUEST", "Blocked.", "r")


@pytest.mark.parametrize(
    "change", [{"status": "x"}, {"errors": "none"}, {"detail": 5}, {"errors": [3]}, {"type": {}}]
)
def test_a_problem_of_wrong_types_keeps_what_can_be_read(change: dict[str, object]) -> None:
    fault = error(404, {**problem(404, "not_found", "Gone."), **change})
    assert isinstance(fault, NotFound)
    assert fault.api_code == "not_found"


def test_a_403_that_is_not_hostups_own_is_the_edge() -> None:
    for body in (b"error code: 1010", b"", b"<html>", b"{}", b"[]", b'{"code": 1010}'):
        fault = error(403, body)
        assert type(fault) is EdgeRefused
        assert fault.nothing_ran


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("body", [b"", b"<html>x</html>", b'{"co', b"nope", b"[1]"])
def test_an_error_status_without_a_document_keeps_its_class(status: int, body: bytes) -> None:
    fault = error(status, body)
    assert isinstance(fault, ApiError)
    assert fault.api_code == ""
    assert f"HTTP {status}" in fault.message


def test_documents() -> None:
    assert read(200, {"a": 1}) == {"a": 1}
    assert read(200, {"data": {"a": 1}, "success": True}) == {"a": 1}
    assert read(200, {"data": [1]}) == {"data": [1]}
    assert read(201, b"\xef\xbb\xbf{}") == {}
    assert read(200, b'{"a": "\xff"}') == {"a": "\ufffd"}


def test_numbers_that_are_none_count_as_null() -> None:
    assert read(200, b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": 1.5}') == {
        "a": None,
        "b": None,
        "c": None,
        "d": 1.5,
    }


def test_the_older_apis_retry_time_is_read() -> None:
    fault = error(429, {"error": "x", "code": "RATE_LIMITED", "message": "m", "retryAfter": 3})
    assert isinstance(fault, RateLimited)
    assert fault.rate_limit
    assert fault.rate_limit.retry_after == 3
    assert "in 3 seconds" in fault.advice


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    for depth in (500, 900, 5_000, 100_000):
        body = b'{"a":' * depth + b"1" + b"}" * depth
        try:
            read(200, body)
        except MalformedReply as fault:
            assert "cut off or broken" in fault.message


def test_the_secret_is_replaced_wherever_it_stands() -> None:
    escaped = SECRET.replace("h", "\\u0068")
    assert read(200, {SECRET: [f"x{SECRET}y"]}) == {"[redacted]": ["x[redacted]y"]}
    assert read(200, f'{{"a": "{escaped}"}}'.encode()) == {"a": "[redacted]"}


@pytest.mark.parametrize(
    "written",
    [
        "".join(f"%{ord(c):02X}" for c in SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
        SECRET.encode().hex(),
        "".join(f"\\u{ord(c):04x}" for c in SECRET),
        SECRET.replace("_", "&#95;"),
        SECRET.replace("_", "&#x5F;"),
        "\u200b".join(SECRET),
        SECRET.replace("_", "\0_"),
        SECRET.replace("_", "\u00ad_"),
        SECRET.replace("_", "_\n"),
    ],
)
def test_so_is_another_form_of_it(written: str) -> None:
    """HostUp, or what stands between, may echo a header in an encoding of its own."""
    told = problem(500, written, written, requestId=written, errors=[{"detail": written}])
    message = error(500, told).message
    assert message.count("[redacted]") == 4
    shown = read(200, {"data": {"name": written}})
    assert shown in ({"name": "[redacted]"}, {"name": "QmVhcmVyIG[redacted]"})
    assert read(200, {"stdout": f"{SECRET} {written}"}) == {"stdout": f"[redacted] {written}"}


def test_text_beside_the_secret_stays_as_it_is() -> None:
    name = f"bl\u00e5 {SECRET} \u202e\n"
    assert read(200, {"name": name}) == {"name": "bl\u00e5 [redacted] \u202e\n"}


def test_text_of_hostups_is_bounded_and_on_one_line() -> None:
    fault = error(400, problem(400, "invalid_request", "a\n\x1b[31mb" + "x" * 5000))
    assert "\n" not in fault.message
    assert "\x1b" not in fault.message
    assert len(fault.message) < 600


@given(st.sampled_from([200, 204, 301, 400, 403, 404, 429, 500]), st.binary(max_size=200))
def test_no_body_can_raise_anything_else(status: int, body: bytes) -> None:
    try:
        assert isinstance(read(status, body), dict)
    except ReplyError as fault:
        assert fault.message.endswith(".")
        assert fault.advice.endswith(".")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["code", "detail", "status", "errors", "requestId", "data", "x"]), inner
    ),
)  # fmt: skip


@given(st.sampled_from([200, 400, 403, 429, 500]), json_values)
def test_no_json_can_raise_anything_else(status: int, body: object) -> None:
    try:
        assert isinstance(read(status, body), dict)
    except ReplyError as fault:
        assert fault.message.endswith(".")
