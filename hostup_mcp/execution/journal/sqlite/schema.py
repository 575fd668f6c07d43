"""The table of executions in SQLite, as each version of the format made it."""

from __future__ import annotations

from typing import Final

VERSION: Final = 6
"""The format of the tables, which the file holds as its `user_version`."""

# Output is stored as bytes: SQLite text cannot hold a lone surrogate, and no result may be lost
# for one.
_FIRST: Final = """
CREATE TABLE executions (
    exec_id TEXT PRIMARY KEY,
    vps_id TEXT NOT NULL,
    command TEXT NOT NULL,
    policy TEXT NOT NULL,
    created_at REAL NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('intended', 'sent', 'running', 'completed', 'not_started', 'unknown', 'lost')),
    sent_at REAL,
    finished_at REAL,
    pid INTEGER,
    exit_code INTEGER,
    signal INTEGER,
    stdout BLOB,
    stderr BLOB,
    stdout_truncated INTEGER,
    stderr_truncated INTEGER,
    error_code TEXT,
    error_message TEXT,
    error_advice TEXT
) STRICT;
CREATE INDEX executions_by_pid ON executions (vps_id, pid);
"""
MIGRATIONS: Final[tuple[str, ...]] = (
    _FIRST,
    "ALTER TABLE executions ADD COLUMN policy TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE executions ADD COLUMN idempotency_key TEXT;
    ALTER TABLE executions ADD COLUMN lease_until REAL NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN read_at REAL;
    ALTER TABLE executions ADD COLUMN dropped_at REAL;
    ALTER TABLE executions ADD COLUMN changes TEXT;
    ALTER TABLE executions ADD COLUMN raw_stdout BLOB;
    ALTER TABLE executions ADD COLUMN raw_stderr BLOB;
    CREATE UNIQUE INDEX executions_by_key ON executions (vps_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE INDEX executions_by_command ON executions (vps_id, command, created_at);
    CREATE INDEX executions_by_state ON executions (state, created_at)
    """,
    """
    ALTER TABLE executions ADD COLUMN principal TEXT NOT NULL DEFAULT 'local';
    DROP INDEX executions_by_key;
    CREATE UNIQUE INDEX executions_by_key ON executions (principal, vps_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """,
    "ALTER TABLE executions ADD COLUMN received_at REAL",
    # Few rows match these, and they are asked for often: an index saves reading past every output.
    """
    ALTER TABLE executions ADD COLUMN found_old_at REAL;
    CREATE INDEX executions_found_old ON executions (found_old_at)
        WHERE found_old_at IS NOT NULL;
    CREATE INDEX executions_unprepared ON executions (created_at)
        WHERE state = 'completed' AND changes IS NULL AND dropped_at IS NULL
    """,
)
"""What each version added, the first at 0. A new file skips the second, which the first has too."""
