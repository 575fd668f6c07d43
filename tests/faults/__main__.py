"""Runs the fault matrix and prints what became of it: `python -m tests.faults`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import anyio

from tests.faults.cases import matrix
from tests.faults.matrix import run, summary


def main() -> int:
    """Run every case; the exit code is 0 only if nothing is wrong."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostup-faults-") as folder:
        outcomes = anyio.run(run, matrix(), Path(folder))
    for sentence in (sentence for outcome in outcomes for sentence in outcome.wrong):
        sys.stdout.write(f"WRONG {sentence}\n")
    sys.stdout.write(f"{summary(outcomes)}\nseconds                     ")
    sys.stdout.write(f"{time.monotonic() - began:.0f}\n")
    return int(any(outcome.wrong for outcome in outcomes))


sys.exit(main())
