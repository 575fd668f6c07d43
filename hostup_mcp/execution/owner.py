"""Which process drives an execution, and whether that process is still there."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def current_owner() -> str:
    """This process: its id, and its start time where the system tells it (Linux).

    The start time tells a process from a later one with the same id; it is in clock ticks since
    boot (proc(5), field 22 of /proc/PID/stat).
    """
    pid = os.getpid()
    return f"{pid}:{_start_time(pid)}"


def is_alive(owner: str) -> bool:
    """Whether the process still runs; true where that cannot be told."""
    pid_text, _, start = owner.partition(":")
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


def _start_time(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    # The name, field 2, is in brackets and may hold anything; field 3 is Z for one that has ended.
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
