"""Runs the whole transport matrix and prints it: `python -m tests.transports`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import anyio

from tests.transports.matrix import failures, run_all, table


def main() -> int:
    """Run every cell; the exit code is 0 only if nothing failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostup-matrix-") as folder:
        rows = anyio.run(run_all, Path(folder))
    failed = "".join(failures(row) for row in rows)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(part.ru_utime + part.ru_stime for part in used)
    sys.stdout.write(f"{failed}{table(rows)}\n\n")
    sys.stdout.write(f"{time.monotonic() - began:.0f} s, of the processor {cpu:.0f} s\n")
    return int(bool(failed))


sys.exit(main())
