"""MCP server that runs allowlisted commands inside HostUp VPSs."""
