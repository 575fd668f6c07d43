# /// script
# requires-python = ">=3.11"
# dependencies = ["mcp==2.3.0"]
# ///
"""hostup-mcp from the official Python SDK, without a framework and without a model.

Install: what stands above, which hostup-mcp brings along.
Timeout: the SDK sets none; here it is 60 seconds. hostup-mcp cannot know that and would take this
client to give up after 5 seconds; client_timeout_seconds tells it better.
"""

import asyncio
import os
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = StdioServerParameters(
    command="hostup-mcp",
    env={
        # The SDK hands down no variable by itself: HOSTUP_API_KEY, and HOSTUP_BASE_URL if set.
        **{name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")},
        "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60",
    },
)


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"progress: {message}")


async def main() -> None:
    async with Client(stdio_client(SERVER), read_timeout_seconds=60) as client:
        print("tools:", *[tool.name for tool in (await client.list_tools()).tools])

        async def call(tool: str, **arguments: str | int) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments, progress_callback=show_progress)
            assert result.structured_content, result.content
            return result.structured_content

        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        print("short:", short["status"], short["exit_code"], short["stdout"], end="")

        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        print("long:", long["status"], long["exec_id"])

        later = await call("vps_exec_result", exec_id=long["exec_id"])
        print("later:", later["status"], later["exit_code"], later["stdout"], end="")


asyncio.run(main())
