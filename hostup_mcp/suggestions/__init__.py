"""What would pass in place of a refused command."""
