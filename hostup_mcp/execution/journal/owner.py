"""Which process drives an execution, and whether that process still runs."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from hostup_mcp.execution.journal.records import Execution


def current_owner() -> str:
    """This process: its id, its start time and its place, where the system tells them (Linux).

    The start time tells a process from a later one with the same id; it is in clock ticks since
    boot (proc(5), field 22 of /proc/PID/stat). The place is the boot and the pid namespace.
    """
    pid = os.getpid()
    return f"{pid}:{_start_time(pid)}:{_place()}"


def has_gone(execution: Execution, me: str, now: float) -> bool:
    """Whether the process that drives an execution has ended.

    A process in another container cannot be seen, so it counts as alive until its lease ends.

    Args:
        execution: whose owner is looked for.
        me: this process, as `current_owner` names it.
        now: seconds since the epoch.
    """
    owner = execution.owner
    if owner == me:
        return False
    boot, _, namespace = _parts(owner)[2].partition("/")
    our_boot, _, our_namespace = _place().partition("/")
    if boot and our_boot and boot != our_boot:
        return True
    if namespace and our_namespace and namespace != our_namespace:
        return execution.lease_until < now
    return not is_alive(owner)


def is_ours_to_take(execution: Execution, me: str, now: float) -> bool:
    """Whether this process drives an execution, or no living process does.

    Args:
        execution: whose owner is looked for.
        me: this process, as `current_owner` names it.
        now: seconds since the epoch.
    """
    return execution.owner == me or has_gone(execution, me, now)


def is_alive(owner: str) -> bool:
    """Whether a process on this machine still runs; true where the system does not tell."""
    pid_text, start, _ = _parts(owner)
    if not pid_text.isdigit():
        return False
    pid = int(pid_text)
    if start:
        return _start_time(pid) == start
    if sys.platform == "win32":  # where signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parts(owner: str) -> tuple[str, str, str]:
    pid, start, place = [*owner.split(":", 2), "", ""][:3]
    return pid, start, place


@cache
def _place() -> str:
    """The boot and the pid namespace, with a slash between; a part is empty if it is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        boot = ""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{boot}/{namespace}"


def _start_time(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    # The name, field 2, is in brackets and may hold anything; field 3 is Z for one that has ended.
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
