"""Suggests what would pass in place of a refused command."""
