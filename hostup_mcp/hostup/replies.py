"""Turns an HTTP reply into a JSON document, or into the error that says what came instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import Final, cast

from pydantic import JsonValue, ValidationError

from hostup_mcp import own_key
from hostup_mcp.hostup.agent import STREAM_NAMES
from hostup_mcp.hostup.errors import (
    ApiError,
    Conflict,
    EdgeRefused,
    FieldError,
    Forbidden,
    InvalidRequest,
    MalformedReply,
    NotFound,
    PageReply,
    RateLimited,
    Redirected,
    ReplyError,
    ServerFailure,
    Unauthorized,
    UnexpectedStatus,
)
from hostup_mcp.hostup.http import Reply
from hostup_mcp.hostup.models import Problem
from hostup_mcp.hostup.pacing import RateLimit, parse_rate_limit

_REDACTED = "[redacted]"
_PAGE = "it is an HTML page, not JSON"
_QUOTED_MAX = 300
_DAY = 86_400

_KEYS = "https://cloud.hostup.se/api-management"
_LATER = "Try again a little later. If it keeps failing, give HostUp's support the request id."
_NOT_HOSTUP = "Check that hostup.base_url is HostUp's API and that no proxy changes its replies."


def read(
    reply: Reply,
    *,
    secret: str,
    scope: str,
    purpose: str,
    now: datetime,
    rate_limit: RateLimit | None = None,
) -> dict[str, JsonValue]:
    """The JSON object of a successful reply, unwrapped from `data` where it is wrapped.

    Args:
        reply: the HTTP reply.
        secret: replaced everywhere in the document, so that an echo cannot leak it.
        scope: the documented scope of this call, for the advice on a 403.
        purpose: what the call is for, such as `starting a command`, for the same advice.
        now: the current time, to turn a reset time into seconds.
        rate_limit: the rate limit in the reply's headers, if the caller has parsed it already.

    Raises:
        ReplyError: the reply is not a JSON object with status 2xx.
    """
    if 300 <= reply.status < 400:
        raise Redirected(
            f"HostUp answered with a redirect (HTTP {reply.status}), which is never followed.",
            "Set hostup.base_url to the address of the API itself.",
            status=reply.status,
        )
    document, fault = _parse(reply.body, secret)
    if not 200 <= reply.status < 300:
        need = {"scope": scope, "purpose": purpose}
        limit = rate_limit or parse_rate_limit(reply.headers, now)
        raise _error(reply, document, fault, need, limit)
    if fault:
        kind = PageReply if fault == _PAGE else MalformedReply
        raise kind(f"HostUp's reply cannot be read: {fault}.", _NOT_HOSTUP, status=reply.status)
    if not isinstance(document, dict):
        raise MalformedReply(
            "HostUp's reply cannot be read: the JSON is not an object.",
            _NOT_HOSTUP,
            status=reply.status,
        )
    inner = document.get("data")
    if not isinstance(inner, dict):
        return document
    # A failure's reason is beside `data`, not in it.
    return {**document, **inner} if document.get("success") is False else inner


def wrong_types(reply: Reply, error: ValidationError) -> MalformedReply:
    """The error for a document that does not fit the documented schema; names the first field."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    return MalformedReply(
        f"HostUp's reply does not have the documented form ({where}: {first['msg'].lower()}).",
        _NOT_HOSTUP,
        status=reply.status,
    )


def refused(said: str) -> ServerFailure:
    """The error for a reply with status 200 that says `success: false`."""
    text = "".join(f" HostUp says: {words.rstrip('.')}." for words in _quoted(said))
    return ServerFailure(
        f"HostUp answered that the request did not succeed (HTTP 200).{text}",
        _LATER,
        status=200,
        detail=said,
    )


def _parse(body: bytes, secret: str) -> tuple[JsonValue, str]:
    """The JSON value without the secret, and an empty string; or None, and what is wrong."""
    if not body.strip():
        return None, "the body is empty"
    text = body.decode("utf-8-sig", "replace")
    try:
        document = cast("JsonValue", json.loads(text, parse_constant=_nothing, parse_float=_finite))
        return (_without(secret, document) if len(secret) >= own_key.SHORTEST else document), ""
    except (ValueError, RecursionError):
        pass
    start = text.lstrip()[:1]
    if start == "<":
        return None, _PAGE
    if start in ("{", "["):
        return None, "the JSON is cut off or broken"
    return None, "it is not JSON"


def _nothing(_: str) -> None:
    """NaN and the infinities, which are not JSON, count as null."""


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _without(secret: str, value: JsonValue, name: str = "") -> JsonValue:
    if isinstance(value, str):
        # What a command printed may be long; it is searched for the other forms when it is shown.
        if name in STREAM_NAMES:
            return value.replace(secret, _REDACTED)
        return own_key.without(value, secret, _REDACTED)
    if isinstance(value, list):
        return [_without(secret, item) for item in value]
    if isinstance(value, dict):
        return {
            own_key.without(name, secret, _REDACTED): _without(secret, item, name)
            for name, item in value.items()
        }
    return value


def _error(
    reply: Reply,
    document: JsonValue,
    fault: str,
    need: Mapping[str, str],
    rate_limit: RateLimit,
) -> ReplyError:
    problem = _problem(document)
    status = reply.status
    if rate_limit.retry_after is None and problem is not None and problem.retry_after is not None:
        rate_limit = replace(rate_limit, retry_after=max(0.0, problem.retry_after))
    if problem is None and status == 403:
        return EdgeRefused(
            "HostUp's web edge refused the request (HTTP 403 without HostUp's error document); "
            "this is not about the API key's scopes.",
            "Do not repeat the same request. Try from another network or a simpler command; if it "
            "keeps failing, ask HostUp's support.",
            status=status,
        )
    kind, happened, advice = _explain(status, need, rate_limit)
    if problem is None:
        came = fault or "it has no HostUp error document"
        return kind(
            f"{happened} (HTTP {status}; {came}).", advice, status=status, rate_limit=rate_limit
        )
    facts = ", ".join(
        [
            f"HTTP {status}",
            *_quoted(problem.code),
            *(f"request {r}" for r in _quoted(problem.request_id)),
        ]
    )
    errors = tuple(FieldError(e.pointer, e.detail, e.code) for e in problem.errors)
    said = "; ".join(
        [
            *_quoted(problem.detail),
            *(" ".join(_quoted(e.pointer) + _quoted(e.detail)) for e in errors[:5]),
        ]
    )
    said = f" HostUp says: {said.rstrip('.')}." if said else ""
    return kind(
        f"{happened} ({facts}).{said}",
        advice,
        status=status,
        api_code=problem.code,
        detail=problem.detail,
        request_id=problem.request_id,
        errors=errors,
        rate_limit=rate_limit,
    )


def _problem(document: JsonValue) -> Problem | None:
    """HostUp's error document, or None: in both API versions it has a `code`."""
    if not isinstance(document, dict) or not isinstance(document.get("code"), str):
        return None
    try:
        return Problem.model_validate(document)
    except ValidationError:
        texts = ("code", "detail", "message", "requestId")
        kept = {key: document.get(key) for key in texts if isinstance(document.get(key), str)}
        return Problem.model_validate(kept)


def _quoted(text: str) -> list[str]:
    """HostUp's text for a sentence: bounded, on one line; an empty list if it is empty."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return [text if len(text) <= _QUOTED_MAX else text[:_QUOTED_MAX] + "…"] if text else []


# Class, what happened (without the full stop), and what to do next.
_INVALID = (
    InvalidRequest,
    "HostUp refused the request",
    "Change what HostUp names. HostUp's own check may also have blocked the command.",
)
_KINDS: Final[Mapping[int, tuple[type[ApiError], str, str]]] = {
    400: _INVALID,
    401: (
        Unauthorized,
        "HostUp did not accept the API key",
        f"The operator should check HOSTUP_API_KEY; keys are made at {_KEYS}.",
    ),
    403: (
        Forbidden,
        "HostUp refused: the API key lacks the scope {scope}, which {purpose} needs, or the VPS "
        "belongs to another account",
        f"The operator should give the key the scope {{scope}} at {_KEYS}; "
        "list_vps shows the VPSs that the key can see.",
    ),
    404: (
        NotFound,
        "HostUp has no such VPS or command, or this key may not see it",
        "Use a vps_id from list_vps; IP addresses and host names are not ids.",
    ),
    405: _INVALID,
    409: (Conflict, "The VPS is not ready for this", _LATER),
    413: _INVALID,
    415: _INVALID,
    422: _INVALID,
    429: (RateLimited, "HostUp's rate limit is reached", "Try again {when}, not sooner."),
}
_FAILURE = (ServerFailure, "HostUp or a system behind it failed", _LATER)
_UNEXPECTED = (
    UnexpectedStatus,
    "HostUp answered with a status that is not documented",
    _LATER,
)


def _explain(
    status: int, need: Mapping[str, str], rate_limit: RateLimit
) -> tuple[type[ApiError], str, str]:
    kind, happened, advice = _KINDS.get(status, _FAILURE if status >= 500 else _UNEXPECTED)
    seconds = rate_limit.retry_after
    when = "in a minute" if seconds is None else f"in {min(seconds, _DAY):.0f} seconds"
    return kind, happened.format(**need), advice.format(**need, when=when)
