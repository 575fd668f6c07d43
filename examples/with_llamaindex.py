# /// script
# requires-python = ">=3.11"
# dependencies = ["llama-index-tools-mcp==0.6.0"]
# ///
"""hostup-mcp as LlamaIndex tools, without a model.

Install: what stands above; it may share an environment with hostup-mcp.
Timeout: a call is cut off after 30 seconds by default, while the command runs on. It is raised
here, and hostup-mcp is told the same figure.
Every call starts a server of its own, within a second or two. Results are on disk, so that the next
server has them all the same.
Progress: the tools show none; BasicMCPClient.call_tool does.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import asyncio
import os
from typing import Any

from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

TIMEOUT_SECONDS = 60
ENV = {name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")}


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"progress: {message}")


async def main() -> None:
    client = BasicMCPClient(
        "hostup-mcp",
        env={**ENV, "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)},
        timeout=TIMEOUT_SECONDS,
    )
    # An agent takes these: FunctionAgent(tools=list(tools.values())).
    tools = {tool.metadata.name: tool for tool in await McpToolSpec(client).to_tool_list_async()}
    print("tools:", *tools)

    async def call(name: str, **arguments: str | int) -> dict[str, Any]:
        result = (await tools[name].acall(**arguments)).raw_output
        assert not result.is_error, result.content
        return result.structured_content

    machines = (await call("list_vps"))["vps"]
    vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

    short = await call("vps_exec", vps_id=vps_id, command="uname -a")
    print("short:", short["status"], short["exit_code"], short["stdout"], end="")

    long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
    print("long:", long["status"], long["exec_id"])

    arguments = {"exec_id": long["exec_id"]}
    result = await client.call_tool("vps_exec_result", arguments, progress_callback=show_progress)
    assert result.structured_content, result.content
    later = result.structured_content
    print("later:", later["status"], later["exit_code"], later["stdout"], end="")


asyncio.run(main())
