"""The reasons why a command has no result: a code, a sentence, and the next step.

HostUp does not document how it reports problems with the guest agent. If it passes on a known
sentence of the agent (QEMU, qga/) or the hypervisor (Proxmox, QemuServer/Agent.pm), that sentence
decides. Otherwise only HostUp's documented codes count. A single word proves nothing: an error text
may quote the command, or report something that happened after the start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import EndKind
from hostup_mcp.hostup.errors import ApiError, HostUpError, MalformedReply, PageReply, ReplyTooLarge

CHECK_BEFORE_REPEAT: Final = (
    "Check whether it ran, for example by looking for its effects. To run it again anyway, give a "
    "new idempotency_key."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an execution has no result: code, sentence, next step."""

    code: str
    message: str
    advice: str

    @classmethod
    def of(cls, error: HostUpError | JournalError) -> Fault:
        """The same facts, without the exception's traceback."""
        return cls(error.code, error.message, error.advice)


AGENT_MISSING: Final = Fault(
    "agent_missing",
    "The VPS is on, but its guest agent does not answer.",
    "The operator should install qemu-guest-agent in the VPS and start it (systemctl enable --now "
    "qemu-guest-agent). After a boot of the VPS, the agent may need a minute.",
)
EXEC_DISABLED: Final = Fault(
    "exec_disabled",
    "The guest agent answers but runs no commands: guest-exec is disabled, which is the default on "
    "RHEL and related systems.",
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
    "No policy of hostup-mcp can allow it. Use another command.",
)
INTERNAL: Final = Fault(
    "internal_error",
    "hostup-mcp hit an unexpected internal error.",
    "Ask for the result again. The operator can find the cause in the server's log.",
)
CANCELLED: Final = Fault(
    "cancelled",
    "The call was cancelled before the command was sent.",
    "Send the command again if you still want it to run.",
)
INTERRUPTED_BEFORE: Final = Fault(
    "interrupted",
    "The server stopped or failed before it sent the command.",
    "Send the command again if you still want it to run.",
)
INTERRUPTED_WHILE: Final = Fault(
    "interrupted",
    "The server stopped or failed while it was sending the command, so the command may have run.",
    CHECK_BEFORE_REPEAT,
)
PID_MISSING: Final = Fault(
    "pid_missing",
    "HostUp accepted the command but returned no pid, so the command may have run.",
    CHECK_BEFORE_REPEAT,
)
PID_UNKNOWN: Final = Fault(
    "pid_unknown",
    "HostUp returns no result for this pid.",
    "The pid may be wrong, its result may have been read already, or HostUp cannot answer now. If "
    "this server read the result, ask for it by its exec_id.",
)
VPS_REBOOTED: Final = Fault(
    "vps_rebooted",
    "The VPS rebooted after the command was started, so the command ended and its result is lost.",
    "Check in the VPS what the command did.",
)
TOO_LARGE: Final = Fault(
    "result_too_large",
    "The command ended, but its output is lost: HostUp could not deliver it, which happens from "
    "about 1 MiB on.",
    "If it is safe to run again, make it print less, with | head -c 200000 or | tail -n 200, and "
    "give a new idempotency_key.",
)

# Whole sentences of the agent (the first two) and of the hypervisor. Both check before they start
# anything, so if a start gets one of these, nothing ran.
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
    """The fault that a known sentence of the agent or the hypervisor reports; None without one.

    Args:
        words: the text of HostUp's error, which may have other words around the sentence.
        command: the command that was sent. A sentence that is also in the command does not count,
            since the text may quote it.
    """
    own = _letters(command)
    sentences = {" ".join(part.split()) for part in _BETWEEN_SENTENCES.split(words.lower())}
    said = [sentence for sentence in sentences if _letters(sentence) not in own]
    return next((fault for sign, fault in _SENTENCES if any(map(sign.fullmatch, said))), None)


def _letters(text: str) -> str:
    """The letters and digits of a text, which stay the same when it is quoted or re-spaced."""
    return "".join(char for char in text.lower() if char.isalnum())


def of_start(error: HostUpError, command: str = "") -> tuple[EndKind, Fault]:
    """What became of a command whose start failed.

    Args:
        error: why it failed.
        command: the command that was sent; HostUp's text may quote it.

    Returns:
        `not_started` only if certainly nothing ran; else `unknown`.
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
    """Why nothing was started, if HostUp's text proves that nothing was."""
    is_blocking = error.status in _BLOCKING_STATUSES and _BLOCKED.search(error.detail)
    if is_blocking and not _BLOCKED.search(command):
        return BLOCKED
    if not error.nothing_ran and _AFTER_THE_START.search(error.detail):
        return None
    return recognised(error.detail, command)


def denies(error: HostUpError) -> bool:
    """Whether HostUp answered that it has no result for this command.

    HostUp does not document its answer for a pid that is unknown or was read already. So these
    count: its error document with one of the statuses below (also 500), `success: false`, and a
    reply that cannot be read, because the agent returns a result only once. These do not count: a
    failure without HostUp's error document, a proxy's page, and an agent that is frozen or has
    commands disabled, because it keeps its results.
    """
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return not isinstance(error, PageReply)
    if not isinstance(error, ApiError) or recognised(error.detail) in (GUEST_FROZEN, EXEC_DISABLED):
        return False
    if error.status == 200:  # it says `success: false`
        return True
    return bool(error.api_code) and error.status in {400, 404, 410, 422, 500}


def lost(error: HostUpError, *, reply_was_lost: bool, was_unreadable: bool) -> Fault:
    """Why the result is lost, once HostUp has denied it for long enough.

    Args:
        error: HostUp's last denial.
        reply_was_lost: whether an earlier reply that may have held the result broke off or came too
            late.
        was_unreadable: whether a reply that may have held the result could not be read.
    """
    if isinstance(error, ReplyTooLarge):
        return TOO_LARGE
    if reply_was_lost:
        return Fault(error.code, f"{TOO_LARGE.message} {error.message}", TOO_LARGE.advice)
    why = ": a reply that may have held it could not be read" if was_unreadable else ""
    return Fault(
        error.code,
        f"The command was started, but HostUp no longer has its result{why}. {error.message}",
        "Another program may have read it, or the guest agent was restarted. Check in the VPS what "
        "the command did. If the VPS was being backed up, ask again after the backup.",
    )
