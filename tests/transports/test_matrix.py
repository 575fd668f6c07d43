"""Each transport in each revision of MCP, in each situation, with the official client.

What cannot be by the protocol is in `revisions`. A row is one test, since its cells share servers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.everything import ALL
from tests.transports.matrix import SITUATIONS, failures, run_row
from tests.transports.matrix_client import REVISIONS, TRANSPORTS, Revision, TransportName
from tests.transports.revisions import ABSENT, UNNAMED

ROWS: Final[list[tuple[TransportName, Revision]]] = [
    (transport, revision) for transport in TRANSPORTS for revision in REVISIONS
]
SHARE: Final[list[tuple[TransportName, Revision]]] = [
    ("stdio", "2026-07-28"),
    ("sse", "2025-11-25"),
]
"""What the default run takes: the newest revision of each era; `.ci/run` takes all rows."""


@pytest.mark.parametrize(("transport", "revision"), ROWS if ALL else SHARE)
async def test_a_row_in_every_situation(
    tmp_path: Path, transport: TransportName, revision: Revision
) -> None:
    row = await run_row(transport, revision, tmp_path)
    assert not row.failures, failures(row)
    assert not row.absent, failures(row)


def test_the_matrix_is_whole() -> None:
    assert len(TRANSPORTS) * len(REVISIONS) * len(SITUATIONS) == 128
    rows = [(transport, revision) for transport in TRANSPORTS for revision in REVISIONS]
    assert set(UNNAMED) < set(rows)
    for row in rows:
        # Each has something that it lacks, so that test is never empty.
        assert [one for one in ABSENT if row[0] in one.transports and row[1] in one.revisions]
