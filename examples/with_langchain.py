# /// script
# requires-python = ">=3.11"
# dependencies = ["langchain-mcp-adapters==0.3.2"]
# ///
"""hostup-mcp as LangChain tools, without a model.

Install: what stands above, apart from hostup-mcp: langchain-mcp-adapters needs mcp 1, and
hostup-mcp needs mcp 2.
Timeout: the adapter sets none, so a call may take its time. hostup-mcp cannot know that and would
take this client to give up after 5 seconds; client_timeout_seconds tells it better.
"""

import asyncio
import os
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_mcp_adapters.callbacks import CallbackContext, Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.sessions import StdioConnection
from langchain_mcp_adapters.tools import load_mcp_tools

ENV = {name: value for name, value in os.environ.items() if name.startswith("HOSTUP_")}
SERVER = StdioConnection(
    transport="stdio",
    command="hostup-mcp",
    args=[],
    env={**ENV, "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60"},
)


async def show_progress(
    progress: float, total: float | None, message: str | None, context: CallbackContext
) -> None:
    print(f"progress: {message}")


async def main() -> None:
    callbacks = Callbacks(on_progress=show_progress)
    # One session for all calls; without it every call starts a server.
    async with MultiServerMCPClient({"hostup": SERVER}).session("hostup") as session:
        tools = {
            tool.name: tool
            for tool in await load_mcp_tools(session, callbacks=callbacks, server_name="hostup")
        }
        print("tools:", *tools)

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            # As an agent calls it: the model gets message.content, the text.
            message: ToolMessage = await tools[name].ainvoke(
                {"type": "tool_call", "id": "1", "name": name, "args": arguments}
            )
            assert message.status == "success", message.content
            return message.artifact["structured_content"]

        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")

        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        print("short:", short["status"], short["exit_code"], short["stdout"], end="")

        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        print("long:", long["status"], long["exec_id"])

        later = await call("vps_exec_result", exec_id=long["exec_id"])
        print("later:", later["status"], later["exit_code"], later["stdout"], end="")


asyncio.run(main())
