"""MCP over stdio, Streamable HTTP and HTTP+SSE, with the checks and limits of the two on HTTP."""
