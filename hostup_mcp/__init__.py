"""MCP server that runs allowed commands inside HostUp VPSs."""
