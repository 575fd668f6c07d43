"""A real qemu-ga in a pid namespace of its own, whose next pid can be chosen and whose agent can be
killed and started again.

`unshare` needs root or unprivileged user namespaces; the next pid is set by the kernel's
`ns_last_pid`. Nothing of the guest is made up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from hostup_mcp.sandbox.qga import QgaGuest, find_qemu_ga
from tests.conftest import missing

_UNSHARE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

# The first process of the namespace. Orders come by one pipe, and each is confirmed by the other.
_INIT: Final = """
exec 3<>{folder}/orders 4<>{folder}/confirmed
while :; do
    {agent} "$@" &
    agent=$!
    while read -r verb number <&3; do
        case $verb in
            next) echo $((number - 1)) >/proc/sys/kernel/ns_last_pid ;;
            taken) if kill -0 $number; then echo true >&4; continue; fi ;;
            restart) kill -9 $agent; wait $agent; break ;;
        esac
        echo done >&4
    done 2>/dev/null
    echo done >&4
done
"""


class PidSpace:
    """The namespace and the agent in it.

    Attributes:
        guest: for the sandbox, which opens and closes it.
    """

    def __init__(self, folder: Path) -> None:
        """A namespace that is made when the guest is opened; skips where there can be none."""
        agent = find_qemu_ga()
        if agent is None:
            missing("qemu-ga (Debian: qemu-guest-agent)")
        folder.mkdir()
        init, program = folder / "init.sh", folder / "qemu-ga"
        init.write_text(_INIT.format(folder=folder, agent=agent))
        unshare = " ".join((*_UNSHARE, *_as_root()))
        program.write_text(f'#!/bin/sh\nexec {unshare} /bin/sh {init} "$@"\n')
        program.chmod(0o755)
        for name in ("orders", "confirmed"):
            os.mkfifo(folder / name)
        self._orders = os.open(folder / "orders", os.O_RDWR)
        self._confirmed = os.open(folder / "confirmed", os.O_RDWR)
        self.guest = QgaGuest(str(program))

    def next_pid(self, pid: int) -> None:
        """Have the next process get this pid."""
        self._ask(f"next {pid}")

    def restart_agent(self) -> None:
        """Kill the agent, with all its records, and start another."""
        self._ask("restart 0")

    def is_taken(self, pid: int) -> bool:
        """Whether there is a process with this pid, ended or not."""
        return self._ask(f"taken {pid}") == "true"

    def close(self) -> None:
        """Close the pipes."""
        os.close(self._orders)
        os.close(self._confirmed)

    def _ask(self, order: str) -> str:
        os.write(self._orders, f"{order}\n".encode())
        return os.read(self._confirmed, 100).decode().strip()


def _as_root() -> tuple[str, ...]:
    """What else `unshare` needs here; skips the test where it cannot be had."""
    if shutil.which("unshare") is None:
        missing("unshare (Debian: util-linux)")
    for more in ((), ("--user", "--map-root-user")):
        tried = [*_UNSHARE, *more, "sh", "-c", "echo 500 >/proc/sys/kernel/ns_last_pid"]
        if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return more
    missing("a pid namespace (root, or unprivileged user namespaces)")
    raise AssertionError
