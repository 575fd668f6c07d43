"""Prepares a command's output to be shown: cleaned, redacted, cut into parts, searched."""
