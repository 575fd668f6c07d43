# /// script
# requires-python = ">=3.11"
# dependencies = ["pydantic-ai-slim[mcp]==2.68.0"]
# ///
"""hostup-mcp as a toolset of pydantic-ai, without a model.

Install: what stands above; it may share an environment with hostup-mcp.
Timeout: a call may take 5 minutes (read_timeout), but the server has to be up within 5 seconds
(init_timeout), which is raised here for a busy machine. hostup-mcp would take this client to give
up on a call after 5 seconds; client_timeout_seconds tells it better.
"""

import asyncio
import os
from typing import Any

from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

ENV = {name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")}


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"progress: {message}")


async def main() -> None:
    transport = StdioTransport(
        "hostup-mcp", [], env={**ENV, "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60"}
    )
    # An agent takes it as Agent(toolsets=[toolset]).
    toolset = MCPToolset[None](transport, progress_handler=show_progress, init_timeout=30)
    async with toolset:
        print("tools:", *[tool.name for tool in await toolset.list_tools()])

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            # A refusal raises ModelRetry, with the text for the model.
            return await toolset.direct_call_tool(name, arguments)

        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        print("short:", short["status"], short["exit_code"], short["stdout"], end="")

        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        print("long:", long["status"], long["exec_id"])

        later = await call("vps_exec_result", exec_id=long["exec_id"])
        print("later:", later["status"], later["exit_code"], later["stdout"], end="")


asyncio.run(main())
