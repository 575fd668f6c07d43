"""Running one command: probe, start, poll, and the journal that keeps what came of it."""
