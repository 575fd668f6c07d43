"""`hostup-mcp doctor`: checks all that a command needs, and says how to mend what fails."""
