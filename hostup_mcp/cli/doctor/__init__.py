"""Checks everything that a command needs, and says how to fix what is wrong."""
