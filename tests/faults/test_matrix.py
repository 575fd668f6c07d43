"""Each request of a command's life with each fault: never twice, never lost, never a wrong word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.everything import ALL
from tests.faults.cases import Case, matrix
from tests.faults.matrix import run, summary

SHARE = 1 if ALL else 4
"""Every fourth case is run by default; all of them by .ci/run, and by `python -m tests.faults`."""


async def test_whatever_fails_no_command_runs_twice_and_no_status_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(matrix()) >= 244
    outcomes = await run(matrix()[::SHARE], tmp_path)
    with capsys.disabled():
        # Not on stdout, which belongs to xdist in its workers.
        sys.stderr.write(f"\n{summary(outcomes)}\n")
    assert not [sentence for outcome in outcomes for sentence in outcome.wrong]


def test_the_matrix_has_every_request_and_every_fault() -> None:
    names = {case.name for case in matrix()}
    assert len(names) == len(matrix())
    assert Case("start", "reset_after", 1) in matrix()
