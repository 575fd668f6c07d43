"""Each transport in each revision of MCP, in each situation, with the official client.

What cannot be by the protocol is in `revisions`.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import anyio
import pytest

from tests.transports.matrix import LONGEST_SECONDS, SITUATIONS, Row, Situation, run_row
from tests.transports.matrix_client import REVISIONS, TRANSPORTS, Revision, TransportName

ALL: Final = bool(os.environ.get("HOSTUP_TESTS_MATRIX"))
"""By default every transport has the newest revision of each era; in `.ci/run` all of them."""
CHOSEN: Final[tuple[Revision, ...]] = REVISIONS if ALL else ("2025-11-25", "2026-07-28")
ROWS: Final = [(transport, revision) for transport in TRANSPORTS for revision in CHOSEN]


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def row(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Row:
    """A row of the matrix, once it has been through all situations."""
    transport: TransportName
    revision: Revision
    transport, revision = request.param
    return anyio.run(partial(run_row, transport, revision, tmp_path_factory.mktemp("matrix")))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_cell(row: Row, situation: Situation) -> None:
    if failure := row.failures.get(situation):
        raise failure
    assert row.ended
    assert row.ended.seconds < LONGEST_SECONDS


def test_what_the_revision_has_not_got_is_refused_in_good_form(row: Row) -> None:
    if row.absent:
        raise row.absent


def test_the_matrix_is_whole() -> None:
    assert len(TRANSPORTS) * len(REVISIONS) * len(SITUATIONS) == 128
    assert len(ROWS) == (16 if ALL else 8)
