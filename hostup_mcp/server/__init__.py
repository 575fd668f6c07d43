"""What an MCP client sees: tools, their results, tasks."""
