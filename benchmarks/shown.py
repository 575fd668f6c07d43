"""What an agent sees of long, binary, noisy and secret output: `python benchmarks/shown.py`.

A real server and the official client, on a sandbox whose commands run on this machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.sandbox.machines import WEB, fleet

# With no real key in it, so that no scanner of secrets stumbles over this file.
KEY_BLOCK: Final = (
    "printf -- '-----BEGIN %s KEY-----\\n' 'OPENSSH PRIVATE'; head -c 1200 /dev/urandom | base64; "
    "printf -- '-----END %s KEY-----\\n' 'OPENSSH PRIVATE'; echo after the key"
)
PROGRESS: Final = (
    "for n in 1 2 3 4 5 6 7 8 9 10; do printf '\\rfetching %d0 %%' $n; done; echo; echo done"
)
ESCAPES: Final = (
    "printf '\\033]0;a title\\007\\033[1;31mred\\033[0m \\033]8;;http://example.org\\033\\\\"
    "link\\033]8;;\\033\\\\ \\033[2J\\033P1$q\\033\\\\bell\\007 \\342\\200\\256left\\n'"
)
COMMANDS: Final = {
    "12 MiB of text": "head -c 9437184 /dev/urandom | base64",
    "100 kB of binary": "head -c 100000 /dev/urandom",
    "yes": "yes | head -c 3000000",
    "a progress bar": f'sh -c "{PROGRESS.replace("$", chr(92) + "$")}"',
    "terminal escapes": ESCAPES,
    "a private key": KEY_BLOCK,
}


async def main() -> None:
    """Run them all, and print what came."""
    with (
        Sandbox(fleet(LocalGuest()), rate_limit=1_000_000) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = Path(folder) / "config.toml"
        config.write_text('[policy]\npreset = "unrestricted"\n')
        env = {
            "HOME": folder,
            "HOSTUP_API_KEY": sandbox.api_key,
            "HOSTUP_BASE_URL": sandbox.base_url,
            "HOSTUP_MCP_CONFIG": str(config),
            "HOSTUP_MCP_STATE_DIR": folder,
            "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60",
        }
        server = StdioServerParameters(command=sys.executable, args=["-m", "hostup_mcp"], env=env)
        async with Client(stdio_client(server)) as client:
            for name, command in COMMANDS.items():
                began = time.perf_counter()
                arguments = {"vps_id": WEB, "command": command}
                answer = await client.call_tool("vps_exec", arguments)
                print_answer(name, answer, time.perf_counter() - began)


def print_answer(name: str, answer: types.CallToolResult, seconds: float) -> None:
    """The size of an answer, its notes, and both ends of its text."""
    size = len(answer.model_dump_json(by_alias=True, exclude_none=True).encode())
    print(f"## {name}: {seconds:.2f} s, a message of {size} bytes\n")
    lines = "".join(block.text for block in answer.content if block.type == "text").split("\n")
    notes = [line for line in lines if line.startswith("note: ")]
    rest = [line for line in lines if line not in notes and not line.startswith("command: ")]
    shown = rest if len(rest) <= 16 else [*rest[:8], f"({len(rest) - 12} lines)", *rest[-4:]]
    for line in (*notes, *shown):
        print(f"    {line[:160]}{'...' if len(line) > 160 else ''}")
    print()


if __name__ == "__main__":
    anyio.run(main)
