"""The command line: the program `hostup-mcp` and its commands."""
