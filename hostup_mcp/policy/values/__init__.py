"""What a value may look like: types, patterns, paths."""
