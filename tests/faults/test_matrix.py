"""Each request of a command's life with each fault: never twice, never lost, never a wrong word."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.faults.cases import Case, matrix
from tests.faults.matrix import Outcome, run, summary

ALL = bool(os.environ.get("HOSTUP_TESTS_ALL_FAULTS"))
"""Whether every case is run, as `python -m tests.faults` does; else every fourth of those without
a duplicate reply.

What a second reply does on a connection that is kept alive depends on when it comes: nearly always
it is noticed, and the connection closed.
"""
DUPLICATED = [case for case in matrix() if case.lane == "duplicated"]


def hold(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        # Not on stdout, which belongs to xdist in its workers.
        sys.stderr.write(f"\n{summary(outcomes)}\n")
    assert not [sentence for outcome in outcomes for sentence in outcome.wrong]


async def test_whatever_fails_no_command_runs_twice_and_no_status_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [case for case in matrix() if case not in DUPLICATED]
    assert len(cases) >= 218
    hold(await run(cases if ALL else cases[::4], tmp_path), capsys)


if ALL:

    async def test_a_reply_that_comes_twice_is_not_taken_for_another_requests(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert len(DUPLICATED) >= 26
        hold(await run(DUPLICATED, tmp_path), capsys)


def test_the_matrix_has_every_request_and_every_fault() -> None:
    names = {case.name for case in matrix()}
    assert len(names) == len(matrix())
    assert Case("start", "reset_after", 1) in matrix()
