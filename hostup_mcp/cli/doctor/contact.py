"""Makes the first request to HostUp, and reads what its reply, or the lack of one, tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import anyio
from pydantic import SecretStr

from hostup_mcp.cli.doctor.report import Check
from hostup_mcp.hostup import replies
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import (
    ApiKeyMissing,
    EdgeRefused,
    Forbidden,
    HostUpError,
    RateLimited,
    ReplyError,
    TimedOut,
    TlsFailed,
    Unauthorized,
)
from hostup_mcp.hostup.http import HttpTransport, Reply, Timeouts
from hostup_mcp.hostup.models import LIST_LIMIT_MAX, VpsPage
from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.hostup.pacing import RateLimit, parse_rate_limit

# A smaller error of the clock does no harm; with a larger one, rate-limit windows are misread.
_CLOCK_WARN_SECONDS: Final = 5.0
_CLOCK_FAIL_SECONDS: Final = 60.0
# The Date header has whole seconds only.
_DATE_SECONDS: Final = 1.0
_LOW_SHARE: Final = 0.1


class Connection:
    """HostUp's API, and its last HTTP reply, for facts that the client does not return."""

    def __init__(
        self,
        origin: str,
        key: SecretStr | None,
        timeouts: Timeouts,
        rate: float,
        key_fault: str = "",
    ) -> None:
        """Nothing is connected yet.

        Args:
            origin: where HostUp is.
            key: the API key, if there is one.
            timeouts: limits of each request.
            rate: requests a second, while HostUp does not say how many it allows.
            key_fault: why the text given as the key is not one; empty otherwise.
        """
        self.origin = origin
        self.timeouts = timeouts
        self.heard: Reply | None = None
        self.http = HttpTransport(origin, timeouts, self._hear)
        self.client = HostUpClient(self.http, key, Pacer(rate=rate), key_fault)

    def _hear(self, reply: Reply) -> None:
        self.heard = reply

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()


@dataclass(frozen=True, slots=True)
class Contact:
    """The outcome of the first request.

    Attributes:
        origin: where it was sent.
        page: the first page of the list; None if the request failed.
        error: why the request failed.
        no_key: the error for a missing key; the request was then sent without one.
        reply: the HTTP reply; None if none came.
        began: when the request began, by this machine's clock.
        seconds: how long it took.
    """

    origin: str
    page: VpsPage | None
    error: HostUpError | None
    no_key: ApiKeyMissing | None
    reply: Reply | None
    began: datetime
    seconds: float


async def first_contact(connection: Connection) -> Contact:
    """Ask for the list of VPSs, which changes nothing; without a key if there is none."""
    page: VpsPage | None = None
    error: HostUpError | None = None
    no_key: ApiKeyMissing | None = None
    began, start = datetime.now(UTC), anyio.current_time()
    try:
        with anyio.fail_after(connection.timeouts.total):
            page = await connection.client.list_vps(limit=LIST_LIMIT_MAX)
    except ApiKeyMissing as missing:
        no_key = missing
        error = await _without_key(connection)
    except HostUpError as fault:
        error = fault
    except TimeoutError:
        error = TimedOut(
            f"{connection.origin} did not answer in time.", "Try again a little later."
        )
    seconds = anyio.current_time() - start
    return Contact(connection.origin, page, error, no_key, connection.heard, began, seconds)


async def _without_key(connection: Connection) -> HostUpError | None:
    """HostUp's answer to a request without a key: it should be a 401."""
    try:
        reply = await connection.http.request("GET", "/api/v2/vps", headers={})
        now = datetime.now(UTC)
        replies.read(reply, secret="", scope="read:vm", purpose="listing VPSs", now=now)
    except HostUpError as error:
        return error
    return None


def contact_checks(contact: Contact) -> list[Check]:
    """The checks that need no more than the first request."""
    return [
        _reachability(contact),
        _tls(contact),
        _edge(contact),
        _answer(contact),
        _clock(contact),
        _rate_limit(contact),
        _key(contact),
        _read_scope(contact),
    ]


def _not_told(check: str, contact: Contact) -> Check:
    why = "No reply came." if contact.reply is None else "HostUp's reply does not say."
    return Check(check, "not_made", why)


def _reachability(contact: Contact) -> Check:
    error = contact.error
    if isinstance(error, TlsFailed):
        return Check("reachability", "ok", f"{contact.origin} accepts connections.")
    if error is not None and not isinstance(error, ReplyError):
        return Check.of("reachability", error)
    status = contact.reply.status if contact.reply else 0
    found = f"{contact.origin} answered in {contact.seconds:.2f} s (HTTP {status})."
    return Check("reachability", "ok", found)


def _tls(contact: Contact) -> Check:
    if isinstance(contact.error, TlsFailed):
        return Check.of("tls", contact.error)
    if urlsplit(contact.origin).scheme == "http":
        return Check("tls", "ok", "Not used: plain HTTP, to this machine itself.")
    if contact.reply is None:
        return _not_told("tls", contact)
    return Check("tls", "ok", "The certificate is trusted and matches the host.")


def _edge(contact: Contact) -> Check:
    if isinstance(contact.error, EdgeRefused):
        return Check.of("edge", contact.error)
    if contact.reply is None:
        return _not_told("edge", contact)
    return Check("edge", "ok", "Nothing in front of HostUp's API refused the request.")


def _answer(contact: Contact) -> Check:
    error = contact.error
    if contact.reply is None or isinstance(error, EdgeRefused):
        return _not_told("answer", contact)
    if error is None or isinstance(error, Unauthorized | Forbidden | RateLimited):
        return Check("answer", "ok", "The reply has the form that HostUp documents.")
    return Check.of("answer", error)


def _clock(contact: Contact) -> Check:
    date = _date(contact.reply)
    if date is None:
        return _not_told("clock", contact)
    middle = contact.began + timedelta(seconds=contact.seconds / 2)
    ahead = (middle - date).total_seconds()
    certain = abs(ahead) - contact.seconds / 2 - _DATE_SECONDS
    if certain < _CLOCK_WARN_SECONDS:
        return Check("clock", "ok", "This machine's clock agrees with HostUp's.")
    direction = "ahead of" if ahead > 0 else "behind"
    return Check(
        "clock",
        "warn" if certain < _CLOCK_FAIL_SECONDS else "fail",
        f"This machine's clock is {abs(ahead):.0f} seconds {direction} HostUp's.",
        "Set the clock, and synchronise it (timedatectl set-ntp true).",
        "clock_off",
    )


def _date(reply: Reply | None) -> datetime | None:
    """When the reply was made (RFC 9110, Date)."""
    try:
        date = parsedate_to_datetime(reply.headers.get("date", "") if reply else "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _rate_limit(contact: Contact) -> Check:
    if isinstance(contact.error, RateLimited):
        return Check.of("rate_limit", contact.error)
    if contact.reply is None:
        return _not_told("rate_limit", contact)
    limit = parse_rate_limit(contact.reply.headers, datetime.now(UTC))
    if limit.remaining is None:
        found = "HostUp did not say how many requests are left; only refusals must say that."
        return Check("rate_limit", "ok", found)
    found = f"{limit.remaining} {_of_limit(limit)} left."
    if limit.limit is not None and limit.remaining < limit.limit * _LOW_SHARE:
        advice = "Let other programs send less with this key, or wait until the limit is reset."
        return Check("rate_limit", "warn", found, advice, "rate_limit_low")
    return Check("rate_limit", "ok", found)


def _of_limit(limit: RateLimit) -> str:
    of = f"of {limit.limit} requests" if limit.limit is not None else "requests"
    return of if limit.reset_at is None else f"{of} until {limit.reset_at:%H:%M:%S} UTC"


def _key(contact: Contact) -> Check:
    if contact.no_key is not None:
        return Check.of("key", contact.no_key)
    if isinstance(contact.error, Unauthorized):
        return Check.of("key", contact.error)
    if contact.error is None or isinstance(contact.error, Forbidden):
        return Check("key", "ok", "HostUp accepts it.")
    return _not_told("key", contact)


def _read_scope(contact: Contact) -> Check:
    if isinstance(contact.error, Forbidden):
        return Check.of("read:vm", contact.error)
    if contact.page is not None:
        return Check("read:vm", "ok", "The key has this scope: HostUp returned the list of VPSs.")
    return _not_told("read:vm", contact)
