"""The errors between HostUp and us: one class for each kind.

Every error has a stable `code`, a sentence on what happened and one on what to do next.
Sources: https://developer.hostup.se/errors and the endpoint pages (RFC 7807 Problem Details).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hostup_mcp.hostup.pacing import RateLimit


class HostUpError(Exception):
    """A request to HostUp that got no usable reply.

    Attributes:
        code: stable identifier of the kind, for programs.
        message: one sentence on what happened.
        advice: one sentence on what to do next.
        nothing_ran: True only if the request certainly had no effect: it was never sent, or HostUp
            refused it before any work.
        transient: True if the same GET may succeed a little later.
    """

    code: ClassVar[str] = "hostup_error"
    nothing_ran: bool = False
    transient: bool = False

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.advice}"


# ------------------------------------------------------------------ nothing was sent


class ApiKeyMissing(HostUpError):
    """There is no API key in the settings."""

    code = "api_key_missing"
    nothing_ran = True


class NotSent(HostUpError):
    """The request was never sent: name not resolved, connection refused, no connection in time."""

    code = "hostup_unreachable"
    nothing_ran = True
    transient = True


class TlsFailed(NotSent):
    """The TLS handshake failed, so no byte of the request was sent."""

    code = "hostup_tls_failed"
    transient = False


# ------------------------------------------------------------------ it may have arrived


class TimedOut(HostUpError):
    """The request was sent, but no complete reply came in time."""

    code = "hostup_timeout"
    transient = True


class ConnectionLost(HostUpError):
    """The connection broke after the request may have been sent."""

    code = "hostup_connection_lost"
    transient = True


# ------------------------------------------------------------------ a reply that cannot be used


class ReplyError(HostUpError):
    """HostUp, or something in front of it, answered.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, advice: str, *, status: int) -> None:
        super().__init__(message, advice)
        self.status = status


class MalformedReply(ReplyError):
    """A success status with a body that is empty, not JSON, cut off, or of wrong types."""

    code = "hostup_malformed_reply"
    transient = True


class PageReply(MalformedReply):
    """A success status with an HTML page: something between us and HostUp answered instead."""


class ReplyTooLarge(ReplyError):
    """The body is larger than we read."""

    code = "hostup_reply_too_large"


class Redirected(ReplyError):
    """A redirect, which is never followed: the API key goes to one origin only."""

    code = "hostup_redirected"


class EdgeRefused(ReplyError):
    """A 403 that is not Problem JSON: the web edge refused, not HostUp's API.

    Seen in public reports as the body `error code: 1010`; not documented by HostUp.
    """

    code = "hostup_edge_refused"
    nothing_ran = True


# ------------------------------------------------------------------ an error document


@dataclass(frozen=True, slots=True)
class FieldError:
    """One entry of `errors[]` in an `invalid_request` document: all strings, empty if absent."""

    pointer: str
    detail: str
    code: str


class ApiError(ReplyError):
    """An error status, normally with a Problem Details document.

    Attributes:
        api_code: HostUp's own `code`, such as `forbidden`; empty if there was no document.
        detail: HostUp's `detail`; empty if there was no document.
        request_id: HostUp's `requestId` (`req_…`), for their support; may be empty.
        errors: what was wrong with the request, for `invalid_request`.
        rate_limit: the rate-limit headers of this reply.
    """

    def __init__(
        self,
        message: str,
        advice: str,
        *,
        status: int,
        api_code: str = "",
        detail: str = "",
        request_id: str = "",
        errors: tuple[FieldError, ...] = (),
        rate_limit: RateLimit | None = None,
    ) -> None:
        super().__init__(message, advice, status=status)
        self.api_code = api_code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors
        self.rate_limit = rate_limit


class InvalidRequest(ApiError):
    """400 (also 405, 413, 415, 422): HostUp refused the request before any work."""

    code = "hostup_invalid_request"
    nothing_ran = True


class Unauthorized(ApiError):
    """401: the API key is missing, wrong or revoked."""

    code = "hostup_unauthorized"
    nothing_ran = True


class Forbidden(ApiError):
    """403: the key lacks a scope, or the VPS belongs to another account."""

    code = "hostup_forbidden"
    nothing_ran = True


class NotFound(ApiError):
    """404: HostUp has no such VPS or command, or it belongs to another account."""

    code = "hostup_not_found"
    nothing_ran = True


class RateLimited(ApiError):
    """429, with either documented code (`rate_limit_exceeded`, `rate_limited`) or none."""

    code = "hostup_rate_limited"
    nothing_ran = True
    transient = True


class Conflict(ApiError):
    """409: `vps_not_ready` or `upstream_failed`. The second may come after the work began."""

    code = "hostup_conflict"
    transient = True


class ServerFailure(ApiError):
    """5xx: HostUp or a system behind it failed; the request may have taken effect.

    With status 200 it is a reply that says `success: false`.
    """

    code = "hostup_server_error"
    transient = True


class UnexpectedStatus(ApiError):
    """Any other error status."""

    code = "hostup_unexpected_status"
