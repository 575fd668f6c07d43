"""The journal in one SQLite file, which several processes of one user may have open at once."""
