"""`hostup-mcp` with the suite's fixture tools; all else is the command itself."""

from __future__ import annotations

from hostup_mcp.cli.main import main
from hostup_mcp.transports import server_parts
from tests.conformance.fixtures import FixtureService

if __name__ == "__main__":
    server_parts.ToolService = FixtureService
    main()
