"""The shells, and how a script is run in one so that everything it starts is seen to its end."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.differential.world import World, read_records

SHELLS: dict[str, tuple[str, ...]] = {
    "dash": ("dash",),
    "bash": ("bash",),
    "bash-posix": ("bash", "--posix"),
    "busybox": ("busybox", "sh"),
    "zsh": ("zsh", "--emulate", "sh"),
    "zsh-native": ("zsh", "-o", "no_nomatch", "-o", "no_multios"),
    "mksh": ("mksh",),
    "ksh93": ("ksh93",),
    "yash": ("yash",),
}
"""By name, the start of a command line that ends in -c and a script.

zsh by its own rules fails for a pattern without a match and copies output to each of several
redirections; both are switched off in `zsh-native`, which is there for the rest of its syntax.
"""


@dataclass(frozen=True)
class Ran:
    """What a script did.

    Attributes:
        records: what it ran, by the number that was set.
        status: its exit status, negative if it was killed.
        said: what it wrote to stderr; no recorder writes anything.
    """

    records: dict[int, list[tuple[str, ...]]]
    status: int
    said: str


def installed(name: str) -> bool:
    """Whether a shell is there."""
    return shutil.which(SHELLS[name][0]) is not None


def shell_argv(name: str, script: str) -> list[str]:
    """The command line that runs a script in a shell."""
    program, *options = SHELLS[name]
    return [shutil.which(program) or program, *options, "-c", script]


class Runner:
    """Runs scripts in a world, one after the other."""

    def __init__(self, world: World, name: str) -> None:
        """Where it runs.

        Args:
            world: the folder.
            name: this runner's own, since several may work in a world at once.
        """
        self._world = world
        self._log = world.root / f"log-{name}"
        self._errors = world.root / f"errors-{name}"

    def run(self, shell: str, script: str, *, cwd: Path | None = None, timeout: float = 60) -> Ran:
        """Run a script, and wait for every process that it leaves.

        Some shells do not wait for the first members of a pipeline. All of them hold an end of a
        pipe; when the other end says that it is closed, they are gone.
        """
        self._log.unlink(missing_ok=True)
        reader, writer = os.pipe()
        try:
            with self._errors.open("wb") as errors:
                process = subprocess.Popen(
                    shell_argv(shell, script),
                    env=self._world.environment(self._log),
                    cwd=cwd or self._world.working,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=(writer,),
                    start_new_session=True,
                )
            os.close(writer)
            writer = -1
            if not select.select([reader], [], [], timeout)[0]:
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        said = self._errors.read_text(errors="replace")
        return Ran(read_records(self._log), status, said)
