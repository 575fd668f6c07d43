# /// script
# requires-python = ">=3.11"
# dependencies = ["google-adk[mcp]==2.13.0"]
# ///
"""hostup-mcp as a toolset of Google's Agent Development Kit, without a model.

Install: what stands above; it may share an environment with hostup-mcp.
Timeout: StdioConnectionParams(timeout=), documented for connecting, cuts off every call too, after
5 seconds by default, while the command runs on. It is raised here, and hostup-mcp is told the same
figure.
"""

import asyncio
import os
from typing import Any

from google.adk.agents import InvocationContext, LlmAgent
from google.adk.sessions import InMemorySessionService
from google.adk.tools import ToolContext
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams
from mcp import StdioServerParameters

TIMEOUT_SECONDS = 60
ENV = {name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")}
SERVER = StdioServerParameters(
    command="hostup-mcp",
    env={**ENV, "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)},
)


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"progress: {message}")


async def main() -> None:
    toolset = McpToolset(
        connection_params=StdioConnectionParams(server_params=SERVER, timeout=TIMEOUT_SECONDS),
        progress_callback=show_progress,
    )
    # What a Runner makes for each turn of an agent.
    sessions = InMemorySessionService()
    invocation = InvocationContext(
        invocation_id="1",
        agent=LlmAgent(name="operator", tools=[toolset]),
        session_service=sessions,
        session=await sessions.create_session(app_name="example", user_id="you"),
    )
    try:
        tools = {tool.name: tool for tool in await toolset.get_tools()}
        print("tools:", *tools)

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            context = ToolContext(invocation)
            result = await tools[name].run_async(args=arguments, tool_context=context)
            assert "structuredContent" in result, result
            return result["structuredContent"]

        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        print("short:", short["status"], short["exit_code"], short["stdout"], end="")

        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        print("long:", long["status"], long["exec_id"])

        later = await call("vps_exec_result", exec_id=long["exec_id"])
        print("later:", later["status"], later["exit_code"], later["stdout"], end="")
    finally:
        await toolset.close()


asyncio.run(main())
