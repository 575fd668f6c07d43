"""Which client waits for how long, and what a call may take of that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.server.client_timeouts import (
    CLIENTS,
    UNKNOWN_SECONDS,
    budget_seconds,
    limit_seconds,
)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("claude-ai", 60),
        ("claude-ai (via mcp-remote 0.1.37)", 60),
        (" Claude-Code ", 60),
        ("codex-mcp-client", 60),
        ("gemini-cli-mcp-client", 600),
        ("gemini-cli-mcp-client-hostup", 600),
        ("Visual Studio Code", 600),
        ("Visual Studio Code - Insiders", 600),
        ("Visual-Studio-Code", 60),
        ("cursor-vscode", 60),
        ("Windsurf", 60),
        ("zed", 60),
        ("Roo Code", 60),
        ("goose-desktop", 180),
        ("mcp", 5),
        ("mcp-something", UNKNOWN_SECONDS),
        ("zedd", UNKNOWN_SECONDS),
        ("my own client", UNKNOWN_SECONDS),
        ("", UNKNOWN_SECONDS),
        (None, UNKNOWN_SECONDS),
    ],
)
def test_the_limit_of_a_client(name: str | None, seconds: float) -> None:
    assert limit_seconds(name) == seconds


@pytest.mark.parametrize(
    ("name", "wait", "override", "budget"),
    [
        ("claude-ai", 45, None, 45),
        ("claude-ai", 300, None, 45),
        ("claude-ai", 10, None, 10),
        ("Visual Studio Code", 300, None, 300),
        ("mcp", 45, None, 3.75),
        (None, 45, None, 3.75),
        (None, 45, 60, 45),
        ("claude-ai", 300, 240, 180),
        ("claude-ai", 45, 2, 1),
        ("claude-ai", 45, 0.5, 0),
        ("claude-ai", -3, None, 0),
    ],
)
def test_the_budget_of_a_call(
    name: str | None, wait: float, override: float | None, budget: float
) -> None:
    assert budget_seconds(name, wait, override) == budget


def test_every_row_says_where_it_comes_from() -> None:
    for client in CLIENTS:
        assert client.seconds >= UNKNOWN_SECONDS, client
        assert "name" in client.source, client
        assert "limit" in client.source, client
        assert client.pattern.rstrip("*").count("*") == 0, client
    patterns = [client.pattern.lower() for client in CLIENTS]
    assert len(set(patterns)) == len(patterns)


@given(st.text() | st.sampled_from([client.pattern for client in CLIENTS]), st.floats(0, 1e6))
def test_a_call_ends_well_before_the_client_gives_up(name: str, wait: float) -> None:
    limit = limit_seconds(name)
    budget = budget_seconds(name, wait, None)
    assert 0 <= budget <= wait
    assert limit - budget >= 1
