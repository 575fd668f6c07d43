"""The reasons why a command has no result: a code, a sentence, and the next step.

HostUp does not document how it reports trouble with the guest agent. Sentences of the agent (QEMU,
qga/) and of the hypervisor (Proxmox, QemuServer/Agent.pm) are recognised where HostUp passes them
on; otherwise only its documented codes count. An error's text may quote the command, or report what
came after the start, so a single word proves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import EndKind
from hostup_mcp.hostup.errors import ApiError, HostUpError, MalformedReply, PageReply, ReplyTooLarge

CHECK_BEFORE_REPEAT: Final = (
    "Check whether it ran, for example by what it changes; to run it again nonetheless, give a new "
    "idempotency_key."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that keeps an execution from its result: code, sentence, next step."""

    code: str
    message: str
    advice: str

    @classmethod
    def of(cls, error: HostUpError | JournalError) -> Fault:
        """The same facts, without the exception's traceback."""
        return cls(error.code, error.message, error.advice)


AGENT_MISSING: Final = Fault(
    "agent_missing",
    "The VPS is on, but no guest agent answers in it.",
    "The operator should install qemu-guest-agent in the VPS and start it (systemctl enable --now "
    "qemu-guest-agent); after a start of the VPS it may take a minute.",
)
EXEC_DISABLED: Final = Fault(
    "exec_disabled",
    "The guest agent answers, but does not run commands: guest-exec is disabled in it, as is the "
    "default on RHEL and its relatives.",
    "The operator should allow guest-exec and guest-exec-status in /etc/sysconfig/qemu-ga in the "
    "VPS and restart qemu-guest-agent.",
)
GUEST_FROZEN: Final = Fault(
    "guest_frozen",
    "The file systems of the VPS are frozen, for a backup or a snapshot.",
    "Try again in a minute or two.",
)
BLOCKED: Final = Fault(
    "command_blocked",
    "HostUp's own safety check refused the command.",
    "No policy of hostup-mcp can allow it; use another command.",
)
INTERNAL: Final = Fault(
    "internal_error",
    "hostup-mcp failed in a way it should not.",
    "Ask for the result again; the operator finds the cause in the server's log.",
)
CANCELLED: Final = Fault(
    "cancelled",
    "The call was cancelled before the command was sent.",
    "Send it again if it is still wanted.",
)
INTERRUPTED_BEFORE: Final = Fault(
    "interrupted",
    "The server stopped, or could not go on, before it sent the command.",
    "Send it again if it is still wanted.",
)
INTERRUPTED_WHILE: Final = Fault(
    "interrupted",
    "The server stopped, or could not go on, while the command was being sent, so it may have run.",
    CHECK_BEFORE_REPEAT,
)
PID_MISSING: Final = Fault(
    "pid_missing",
    "HostUp accepted the command but gave no pid, so it may have run.",
    CHECK_BEFORE_REPEAT,
)
PID_UNKNOWN: Final = Fault(
    "pid_unknown",
    "HostUp gives no result for this pid.",
    "The pid never was a command here, its result was read already, or HostUp cannot answer now; a "
    "result that this server has read has an exec_id.",
)
VPS_REBOOTED: Final = Fault(
    "vps_rebooted",
    "The VPS was restarted after the command was started, which ended the command and took its "
    "result.",
    "Check in the VPS what the command did.",
)
TOO_LARGE: Final = Fault(
    "result_too_large",
    "The command ended, and its output was lost on the way: HostUp could not deliver it, which "
    "happens from about 1 MiB on.",
    "If it may run again, have it print less, with | head -c 200000 or | tail -n 200, and give a "
    "new idempotency_key.",
)

# Whole sentences of the agent's (the first two) and the hypervisor's. Both check before they start
# anything: if one of these answers a start, nothing ran.
_SENTENCES: Final[tuple[tuple[re.Pattern[str], Fault], ...]] = (
    (re.compile("(the )?agent is in frozen state"), GUEST_FROZEN),
    (
        re.compile(
            "(the )?(command )?'?guest-exec(-status)?'? has been disabled( for this instance)?"
        ),
        EXEC_DISABLED,
    ),
    (re.compile("(the )?(qemu )?guest agent is not running"), AGENT_MISSING),
    (re.compile("no qemu guest agent configured"), AGENT_MISSING),
)
_BETWEEN_SENTENCES: Final = re.compile(r"[:;.!?()\[\]\n]|,\s|\s-+\s")
_BLOCKED: Final = re.compile(r"\bblocked\b", re.IGNORECASE)
_BLOCKING_STATUSES: Final = frozenset({400, 403, 422})
_AFTER_THE_START: Final = re.compile(r"time[ds]?[ -]?out|guest-exec-status", re.IGNORECASE)


def recognised(words: str, command: str = "") -> Fault | None:
    """The fault that a sentence of the agent's or the hypervisor's reports; None if there is none.

    Args:
        words: what HostUp passed on, perhaps with words of its own around a sentence.
        command: what the words may quote; a sentence that is also in the command does not count.
    """
    own = _letters(command)
    sentences = {" ".join(part.split()) for part in _BETWEEN_SENTENCES.split(words.lower())}
    said = [sentence for sentence in sentences if _letters(sentence) not in own]
    return next((fault for sign, fault in _SENTENCES if any(map(sign.fullmatch, said))), None)


def _letters(text: str) -> str:
    """What of a text stays the same however it is quoted and spaced."""
    return "".join(char for char in text.lower() if char.isalnum())


def of_start(error: HostUpError, command: str = "") -> tuple[EndKind, Fault]:
    """What became of a command whose start failed.

    Args:
        error: why it failed.
        command: what was sent; HostUp's words may quote it.

    Returns:
        `not_started` only where it is certain that nothing ran; else `unknown`.
    """
    fault = _refusal(error, command) if isinstance(error, ApiError) else None
    if fault is not None:
        return "not_started", fault
    not_ready = isinstance(error, ApiError) and error.api_code == "vps_not_ready"
    if error.nothing_ran or not_ready:
        return "not_started", Fault.of(error)
    message = f"It is not known whether the command ran. {error.message}"
    return "unknown", Fault(error.code, message, CHECK_BEFORE_REPEAT)


def _refusal(error: ApiError, command: str) -> Fault | None:
    """Why nothing was started, if HostUp's words prove it."""
    is_blocking = error.status in _BLOCKING_STATUSES and _BLOCKED.search(error.detail)
    if is_blocking and not _BLOCKED.search(command):
        return BLOCKED
    if not error.nothing_ran and _AFTER_THE_START.search(error.detail):
        return None
    return recognised(error.detail, command)


def denies(error: HostUpError) -> bool:
    """Whether HostUp answered for this very command that it has no result.

    HostUp does not document what it answers for a pid that is unknown or was read already. So these
    count: its error document with one of these statuses (500 too), `success: false`, and a reply
    that cannot be read, since the agent gave its result away with that reply. These do not count: a
    failure without HostUp's error document, a proxy's page, and a guest that is frozen or was told
    not to run commands, which keeps its results.
    """
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return not isinstance(error, PageReply)
    if not isinstance(error, ApiError) or recognised(error.detail) in (GUEST_FROZEN, EXEC_DISABLED):
        return False
    if error.status == 200:  # it says `success: false`
        return True
    return bool(error.api_code) and error.status in {400, 404, 410, 422, 500}


def lost(error: HostUpError, *, reply_was_lost: bool, was_unreadable: bool) -> Fault:
    """Why there is no result, after HostUp has denied it for long enough.

    Args:
        error: the last denial.
        reply_was_lost: whether an earlier reply that may have held the result broke off or came too
            late.
        was_unreadable: whether a reply that may have held it could not be read.
    """
    if isinstance(error, ReplyTooLarge):
        return TOO_LARGE
    if reply_was_lost:
        return Fault(error.code, f"{TOO_LARGE.message} {error.message}", TOO_LARGE.advice)
    why = ": a reply that may have held it could not be read" if was_unreadable else ""
    return Fault(
        error.code,
        f"The command was started, and HostUp no longer has its result{why}. {error.message}",
        "It may have been read elsewhere, or the guest agent was restarted; check in the VPS what "
        "the command did. After a backup of the VPS, ask again.",
    )
