# /// script
# requires-python = ">=3.11"
# dependencies = ["openai-agents==0.24.0"]
# ///
"""hostup-mcp as an MCP server of OpenAI Agents, without a model.

Install: what stands above; it may share an environment with hostup-mcp.
Timeout: a call is cut off after 5 seconds by default, and the model is told to try again, while the
command runs on. client_session_timeout_seconds raises that, and hostup-mcp is told the same figure.
Progress: the framework shows none.
"""

import asyncio
import os
from typing import Any

from agents.mcp import MCPServerStdio

TIMEOUT_SECONDS = 60
ENV = {name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")}


async def main() -> None:
    # An agent takes it as Agent(mcp_servers=[server]).
    async with MCPServerStdio(
        params={
            "command": "hostup-mcp",
            "env": {**ENV, "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)},
        },
        client_session_timeout_seconds=TIMEOUT_SECONDS,
        cache_tools_list=True,
    ) as server:
        print("tools:", *[tool.name for tool in await server.list_tools()])

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            result = (await server.call_tool(name, arguments)).model_dump(by_alias=True)
            assert not result["isError"], result["content"]
            return result["structuredContent"]

        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        print("short:", short["status"], short["exit_code"], short["stdout"], end="")

        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        print("long:", long["status"], long["exec_id"])

        later = await call("vps_exec_result", exec_id=long["exec_id"])
        print("later:", later["status"], later["exit_code"], later["stdout"], end="")


asyncio.run(main())
