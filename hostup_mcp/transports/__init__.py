"""Serving MCP: stdio, Streamable HTTP and HTTP+SSE, and what guards the two on HTTP."""
