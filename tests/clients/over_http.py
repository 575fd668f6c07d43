"""One session of a Python framework with hostup-mcp over HTTP: what its example does on stdio.

Run in the framework's own environment: FRAMEWORK TRANSPORT URL, where FRAMEWORK is its example's
name and TRANSPORT is http or sse; the token comes from HOSTUP_MCP_HTTP_TOKEN. Prints one JSON
object with what was seen.
"""

# pyright: basic, reportMissingImports=false
# ruff: noqa: PLC0415
# Each environment has one of the frameworks.

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Call = Callable[..., Awaitable[dict[str, Any]]]
Opened = AsyncGenerator[tuple[list[str], Call]]

TIMEOUT_SECONDS = 60.0
HEADERS = {"Authorization": f"Bearer {os.environ['HOSTUP_MCP_HTTP_TOKEN']}"}
messages: list[str] = []


async def on_progress(
    progress: float, total: float | None, message: str | None, *_: object
) -> None:
    messages.append(message or "")


@asynccontextmanager
async def with_langchain(transport: str, url: str) -> Opened:
    from langchain_mcp_adapters.callbacks import Callbacks
    from langchain_mcp_adapters.client import MultiServerMCPClient
    from langchain_mcp_adapters.tools import load_mcp_tools

    kind = "streamable_http" if transport == "http" else "sse"
    connection = {"transport": kind, "url": url, "headers": HEADERS}
    client = MultiServerMCPClient({"hostup": connection})  # type: ignore[dict-item]
    async with client.session("hostup") as session:
        loaded = await load_mcp_tools(session, callbacks=Callbacks(on_progress=on_progress))
        tools = {tool.name: tool for tool in loaded}

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            wanted = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
            return (await tools[name].ainvoke(wanted)).artifact["structured_content"]

        yield list(tools), call


@asynccontextmanager
async def with_openai_agents(transport: str, url: str) -> Opened:
    from agents.mcp import MCPServerSse, MCPServerStreamableHttp

    kind = MCPServerStreamableHttp if transport == "http" else MCPServerSse
    params: Any = {"url": url, "headers": HEADERS}
    async with kind(params=params, client_session_timeout_seconds=TIMEOUT_SECONDS) as server:

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            result = await server.call_tool(name, arguments)
            return result.model_dump(by_alias=True)["structuredContent"]

        yield [tool.name for tool in await server.list_tools()], call


@asynccontextmanager
async def with_pydantic_ai(transport: str, url: str) -> Opened:
    from fastmcp.client.transports import SSETransport, StreamableHttpTransport
    from pydantic_ai.mcp import MCPToolset

    kind = StreamableHttpTransport if transport == "http" else SSETransport
    async with MCPToolset(kind(url, headers=HEADERS), progress_handler=on_progress) as toolset:

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            return await toolset.direct_call_tool(name, arguments)

        yield [tool.name for tool in await toolset.list_tools()], call


@asynccontextmanager
async def with_google_adk(transport: str, url: str) -> Opened:
    from google.adk.agents import InvocationContext, LlmAgent
    from google.adk.sessions import InMemorySessionService
    from google.adk.tools import ToolContext
    from google.adk.tools.mcp_tool import (
        McpToolset,
        SseConnectionParams,
        StreamableHTTPConnectionParams,
    )

    kind = StreamableHTTPConnectionParams if transport == "http" else SseConnectionParams
    parameters = kind(url=url, headers=HEADERS, timeout=TIMEOUT_SECONDS)
    toolset = McpToolset(connection_params=parameters, progress_callback=on_progress)
    sessions = InMemorySessionService()
    invocation = InvocationContext(
        invocation_id="1",
        agent=LlmAgent(name="operator", tools=[toolset]),
        session_service=sessions,
        session=await sessions.create_session(app_name="test", user_id="test"),
    )
    try:
        tools = {tool.name: tool for tool in await toolset.get_tools()}

        async def call(name: str, **arguments: str | int) -> dict[str, Any]:
            context = ToolContext(invocation)
            result = await tools[name].run_async(args=arguments, tool_context=context)
            return result["structuredContent"]

        yield list(tools), call
    finally:
        await toolset.close()


@asynccontextmanager
async def with_llamaindex(transport: str, url: str) -> Opened:
    from llama_index.tools.mcp import BasicMCPClient

    # Its transport follows from the path.
    client = BasicMCPClient(url, headers=HEADERS, timeout=int(TIMEOUT_SECONDS))

    async def call(name: str, **arguments: str | int) -> dict[str, Any]:
        result = await client.call_tool(name, arguments, progress_callback=on_progress)
        return result.structured_content or {}

    yield [tool.name for tool in (await client.list_tools()).tools], call


@asynccontextmanager
async def with_mcp_sdk(transport: str, url: str) -> Opened:
    import httpx2
    from mcp import Client
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(headers=HEADERS, timeout=TIMEOUT_SECONDS) as http:
        if transport == "http":
            streams = streamable_http_client(url, http_client=http)
        else:
            streams = sse_client(url, headers=HEADERS)
        async with Client(streams) as client:

            async def call(name: str, **arguments: str | int) -> dict[str, Any]:
                result = await client.call_tool(name, arguments, progress_callback=on_progress)
                return result.structured_content or {}

            yield [tool.name for tool in (await client.list_tools()).tools], call


OPEN = {
    opened.__name__: opened
    for opened in (
        with_google_adk,
        with_langchain,
        with_llamaindex,
        with_mcp_sdk,
        with_openai_agents,
        with_pydantic_ai,
    )
}


async def main(framework: str, transport: str, url: str) -> None:
    async with OPEN[framework](transport, url) as (tools, call):
        machines = (await call("list_vps"))["vps"]
        vps_id = next(vps["id"] for vps in machines if vps["power_state"] == "running")
        short = await call("vps_exec", vps_id=vps_id, command="uname -a")
        long = await call("vps_exec", vps_id=vps_id, command="sleep 3 && date -u", wait_seconds=1)
        later = await call("vps_exec_result", exec_id=long["exec_id"])
    seen = {"tools": tools, "short": short, "long": long, "later": later, "progress": messages}
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
