"""Knows how long MCP clients wait for a tool call, by the name they give in `clientInfo`.

A client that times out tells its model that the call failed, and the model often tries again, while
the command on the VPS still runs. So a call answers before the client's timeout, with the result or
with the exec_id.

The figures are defaults. Users can change most of them, and a new version of a client may have
others. Where public reports differ, the table has the shortest. A client that is not in the table,
or gives no name of its own, gets the shortest timeout that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNKNOWN_SECONDS: Final = 5.0
"""For a client not in the table: the measured default of openai-agents, google-adk, autogen-ext."""

# A quarter of the timeout is left for the start, the last request and sending the answer.
_SHARE: Final = 0.75
_LEAST_ROOM_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Client:
    """One row: a client and its timeout.

    Attributes:
        pattern: its name in `clientInfo`. Case does not matter; a final `*` matches any ending.
        seconds: how long it waits for a tool call.
        source: where the name and the figure come from.
    """

    pattern: str
    seconds: float
    source: str

    def matches(self, name: str) -> bool:
        """Whether this row is for a client of this name (in lower case)."""
        pattern = self.pattern.lower()
        return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


_LISTED = "name: github apify/mcp-client-capabilities"
_SDK = "limit: the TypeScript SDK's default, measured with SDK v1, assumed for clients built on it"

CLIENTS: Final = (
    # ------------------------------------------------ frameworks in Python
    Client(
        "mcp",
        5,
        "name: the Python SDK's default, which most frameworks keep; limit: openai-agents, "
        "google-adk and autogen-ext cut at 5 s, agno at 10 s, llama-index and haystack at 30 s, "
        "measured with their defaults, and nothing tells them apart",
    ),
    # ------------------------------------------------ Anthropic
    Client(
        "claude-ai*",
        60,
        f"{_LISTED}, with a suffix through mcp-remote; limit: Claude Desktop and claude.ai, "
        "reports anthropics/claude-code#22542 and anthropics/claude-ai-mcp#115 (about 60 s); "
        "later ones give 4 minutes (#64614, #65643)",
    ),
    Client(
        "claude-code*",
        60,
        f"{_LISTED}; limit: MCP_TOOL_TIMEOUT, long by default, but 60 s over HTTP is reported "
        "(anthropics/claude-code#47076, #52441)",
    ),
    Client(
        "local-agent-mode-*",
        60,
        "name and limit: the report anthropics/claude-code#58687 (Cowork, with the message of "
        "the TypeScript SDK's timeout)",
    ),
    # ------------------------------------------------ OpenAI
    Client(
        "codex-mcp-client*",
        60,
        f"{_LISTED}; limit: tool_timeout_sec in the documentation of 2025 (60 s); 120 s and 300 s "
        "in later sources",
    ),
    Client("codex*", 60, f"{_LISTED}; limit: as for codex-mcp-client"),
    Client(
        "openai-mcp*",
        60,
        "name: ChatGPT, in messages quoted by public servers and their tests; limit: not found, "
        "assumed to be that of other hosts",
    ),
    Client("ChatGPT", 60, f"{_LISTED}; limit: not found, assumed to be that of other hosts"),
    # ------------------------------------------------ Google
    Client(
        "gemini-cli-mcp-client*",
        600,
        "name and limit: gemini-cli packages/core/src/tools/mcp-client.ts (10 minutes)",
    ),
    Client("antigravity-client", 60, f"{_LISTED}; limit: not found, assumed to be that of hosts"),
    # ------------------------------------------------ editors
    Client(
        "Visual Studio Code*",
        600,
        "name: the product's long name, microsoft/vscode mcpServerRequestHandler.ts; limit: none "
        "in that file, so 10 minutes are assumed",
    ),
    Client("Visual-Studio-Code*", 60, f"{_LISTED}; limit: another build, assumed to be 60 s"),
    Client(
        "cursor-vscode*",
        60,
        f"{_LISTED} and modelcontextprotocol/csharp-sdk#344; {_SDK}; cursor/cursor#3510 reports "
        "5 minutes",
    ),
    Client("windsurf*", 60, f"{_LISTED} (windsurf-client, Windsurf); {_SDK}"),
    Client("Zed", 60, f"{_LISTED}; limit: zed crates/context_server/src/client.rs (60 s)"),
    Client("Cline", 60, f"{_LISTED}; limit: cline src/shared/mcp.ts (60 s)"),
    Client("Roo*", 60, f"{_LISTED} (Roo-Code); limit: Roo-Code src/services/mcp/McpHub.ts (60 s)"),
    Client("Kilo*", 60, f"{_LISTED} (Kilo-Code); limit: its copy of Cline's constant (60 s)"),
    Client(
        "continue-*",
        60,
        f"name: continue-client in Continue's MCP connection class, continue-cli-client in "
        f"apify/mcp-client-capabilities; {_SDK}",
    ),
    Client("JetBrains-*", 60, f"{_LISTED}; {_SDK}"),
    Client("Xcode-copilot-xcode", 60, f"{_LISTED}; {_SDK}"),
    Client(
        "github-copilot-developer",
        60,
        f"{_LISTED}; limit: github/copilot-cli#1535 (60 s whatever is configured)",
    ),
    Client("opencode", 60, f"{_LISTED}; limit: anomalyco/opencode#8212 and #8701 (60 s)"),
    # ------------------------------------------------ other hosts
    Client(
        "goose*",
        180,
        f"{_LISTED}; limit: goose DEFAULT_EXTENSION_TIMEOUT, 300 s; 180 s in a fork of it",
    ),
    Client(
        "@librechat/api-client",
        60,
        f"{_LISTED}; limit: LibreChat packages/api/src/mcp/connection.ts (60 s)",
    ),
    Client("@n8n/n8n-nodes-langchain.mcp*", 60, f"{_LISTED}; {_SDK}"),
    Client("Cherry Studio", 60, f"{_LISTED}; limit: CherryHQ/cherry-studio#5037 (1 minute)"),
    Client(
        "inspector-client",
        10,
        "name: MCP Inspector 0.17 and 0.18, in public logs; limit: its MCP_SERVER_REQUEST_TIMEOUT, "
        "10 s in early releases, 300 s in later ones",
    ),
    Client(
        "ai-sdk-mcp-client",
        60,
        "name: the Vercel AI SDK's default; limit: passed 65 s, measured with its defaults",
    ),
)


def limit_seconds(name: str | None, override: float | None = None) -> float:
    """How long a client waits for a tool call, in seconds.

    If several rows match the name, the one with the longest pattern decides.

    Args:
        name: the client's name in `clientInfo`, if it gave one.
        override: the timeout that the operator has set for every client.
    """
    if override is not None:
        return override
    wanted = (name or "").strip().lower()
    found = [client for client in CLIENTS if client.matches(wanted)]
    if not found:
        return UNKNOWN_SECONDS
    return max(found, key=lambda client: len(client.pattern)).seconds


def budget_seconds(name: str | None, wait_seconds: float, override: float | None) -> float:
    """How long a call may wait, in seconds: `wait_seconds`, but less than the client's timeout.

    Args:
        name: the client's name in `clientInfo`, if it gave one.
        wait_seconds: how long the caller wants to wait.
        override: the timeout that the operator has set for every client.
    """
    limit = limit_seconds(name, override)
    fits = min(limit * _SHARE, limit - _LEAST_ROOM_SECONDS)
    return max(0.0, min(wait_seconds, fits))
