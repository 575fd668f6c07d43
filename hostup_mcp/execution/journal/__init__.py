"""The journal: what is known of every execution, on disk before anyone is told."""
