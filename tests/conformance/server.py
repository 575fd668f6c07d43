"""`hostup-mcp` with the suite's fixture tools; all else is the command itself."""

from __future__ import annotations

from hostup_mcp.cli import main
from hostup_mcp.transports import serving
from tests.conformance.fixtures import FixtureService

if __name__ == "__main__":
    serving.ToolService = FixtureService
    main()
