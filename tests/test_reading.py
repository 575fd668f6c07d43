"""What is shown of a result: windows, parts, lines, and every note on what is not as it came."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.execution.journal.records import Output, Stream
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.output.line_search import LinePatternError
from hostup_mcp.output.window import MAX_PART_BYTES
from hostup_mcp.server.tools import VpsExecResultArguments
from hostup_mcp.server.views import Shown, View, show
from tests.runner_harness import Tools, flow, tools
from tests.scripted_api import ScriptedApi, json_answer
from tests.stdio_client import facts, text

LINES = "".join(f"line {number}\n" for number in range(1, 5001))
WINDOW = 16_384


def completed(stdout: str = "", stderr: str = "", **more: object) -> Output:
    out = Stream(stdout, changes={}, **more)  # type: ignore[arg-type]
    return Output(out, Stream(stderr, changes={}))


def shown(stdout: str, **wanted: object) -> Shown:
    view = View.of(VpsExecResultArguments.model_validate({"exec_id": "exec_x", **wanted}))
    return show("stdout", completed(stdout), view, WINDOW, "exec_x")


# ------------------------------------------------------------------ parts


@given(st.text("ab\nå€𝄞", max_size=300), st.integers(1, 40))
def test_parts_that_follow_each_other_are_the_whole_text(output: str, size: int) -> None:
    got, offset = "", 0
    for _ in range(len(output.encode()) + 1):
        part = shown(output, stream="stdout", offset=offset, max_bytes=size)
        assert len(part.text.encode()) <= max(size, 4)
        assert part.total_bytes == len(output.encode())
        got += part.text
        if part.next_offset is None:
            break
        assert part.next_offset > offset
        offset = part.next_offset
    assert got == output


def test_a_short_output_is_whole_and_needs_no_note() -> None:
    assert shown("one\ntwo\n") == Shown("one\ntwo\n", 8, None, ())
    assert shown("") == Shown("", 0, None, ())


def test_a_long_output_shows_both_ends_and_the_call_for_the_rest() -> None:
    part = shown(LINES)
    assert part.text.startswith("line 1\n")
    assert part.text.endswith("line 5000\n")
    assert WINDOW - 100 < len(part.text.encode()) < WINDOW + 100
    assert part.next_offset
    (note,) = part.notes
    assert (
        f" of {len(LINES)} (5000 lines); for the rest, call vps_exec_result with exec_id exec_x"
        in note
    )
    assert f"stream stdout, offset {part.next_offset}" in note
    rest = shown(LINES, stream="stdout", offset=part.next_offset)
    assert rest.text.startswith("line ")


def test_the_last_lines_say_of_how_many() -> None:
    part = shown(LINES, tail_lines=2)
    assert part.text == "line 4999\nline 5000\n"
    assert part.next_offset is None
    size = len(LINES)
    assert part.notes == (f"stdout: showing bytes {size - 20} to {size} of {size} (5000 lines)",)
    cut = shown(LINES, tail_lines=4000, max_bytes=100)
    assert cut.text.endswith("line 4999\nline 5000\n")
    assert cut.next_offset == LINES.index("line 1001\n")


def test_an_offset_behind_the_end_shows_nothing_and_says_so() -> None:
    part = shown("abc", offset=10)
    assert (part.text, part.next_offset) == ("", None)
    assert part.notes == ("stdout: showing bytes 3 to 3 of 3 (1 lines)",)


def test_a_stream_that_was_not_asked_for_is_counted() -> None:
    state = completed("out", "error")
    view = View.of(VpsExecResultArguments(exec_id="exec_x", stream="stdout"))
    assert show("stderr", state, view, WINDOW, "exec_x") == Shown(
        "", 5, None, ("stderr: not shown, 5 bytes",)
    )
    assert show("stdout", state, view, WINDOW, "exec_x").text == "out"


# ------------------------------------------------------------------ lines that match


def test_matching_lines_with_numbers_context_and_counts() -> None:
    part = shown(LINES, grep="line 250[01]$", context_lines=1)
    assert part.text == "2499-line 2499\n2500:line 2500\n2501:line 2501\n2502-line 2502\n"
    assert part.notes == ("stdout: showing 2 of 2 matching lines, of 5000 lines in all",)
    none = shown(LINES, grep="nothing")
    assert none.text == ""
    assert none.notes == ("stdout: showing 0 of 0 matching lines, of 5000 lines in all",)


def test_all_matches_can_be_had_page_by_page() -> None:
    pages, offset = "", 0
    for _ in range(100):
        part = shown(LINES, grep="7$", max_bytes=2000, offset=offset)
        pages += part.text
        if part.next_offset is None:
            break
        assert f"the next is at offset {part.next_offset}" in part.notes[-1]
        offset = part.next_offset
    assert pages == "".join(f"{n}:line {n}\n" for n in range(7, 5001, 10))


def test_a_match_is_shown_also_where_there_is_little_room() -> None:
    part = shown("matches\n" * 9, grep="match", max_bytes=3)
    assert part.text == "".join(f"{n}:matches\n" for n in range(1, 7))
    assert part.notes[-1].endswith("showing 6 of 9 matching lines, of 9 lines in all; the next "
                                   "is at offset 48")  # fmt: skip


def test_what_a_search_left_undone_is_told() -> None:
    part = shown("y\n" * (1 << 23), grep="y", max_bytes=64)
    assert part.notes[-1].startswith("stdout: showing 14 of at least ")
    part = shown("y" * 100_000, grep="y{1000}|x.{1000}")
    assert re.fullmatch(
        "stdout: lines longer than [0-9]+ bytes were searched in pieces; in them, a match "
        "longer than [0-9]+ bytes may be missed",
        part.notes[-1],
    )


@pytest.mark.parametrize("pattern", ["(", "a{1001}", r"(?=x)", r"\1", "[z-a]"])
def test_a_pattern_that_re2_does_not_take(pattern: str) -> None:
    with pytest.raises(LinePatternError, match="RE2 does not accept this pattern"):
        shown("x", grep=pattern)


def test_a_part_is_never_larger_than_a_message_may_be() -> None:
    for view in ({"offset": 1}, {"tail_lines": 10_000}, {"grep": "a"}, {}):
        part = shown("a" * 100 + "\n" + LINES * 30, max_bytes=MAX_PART_BYTES, **view)
        assert len(part.text.encode()) <= MAX_PART_BYTES + 200


# ------------------------------------------------------------------ notes


@pytest.mark.parametrize(
    ("came", "note"),
    [
        ({"stdout": "x\x1b[31mred\x1b[0m"}, "stdout: 2 x terminal escape sequences removed"),
        ({"stdout": "a\x07b"}, "stdout: 1 x control characters made visible"),
        ({"stdout": "a\u202eb"}, "stdout: 1 x invisible or direction-changing characters made"),
        ({"stdout": "a\ud800"}, "stdout: 1 x broken characters replaced"),
        ({"stdout": "1%\r2%\r3%\n"}, "stdout: 1 x lines rewritten in place (progress bars) shown"),
        ({"stderr": "mÃ¥ndag och lÃ¶rdag\n"}, "stderr: double-encoded UTF-8 repaired"),
        ({"stderr": "password=hunter2-correct\n"}, "stderr: 1 x redacted: "),
        ({"stdout": "x", "out-truncated": True}, "stdout: the guest agent kept only the first 16"),
        ({"stderr": "x", "err-truncated": True}, "stderr: the guest agent kept only the first 16"),
    ],
)
async def test_every_change_is_told_in_both_parts(
    scripted: ScriptedApi, journal: SqliteStore, came: dict[str, object], note: str
) -> None:
    scripted.script = flow(lambda: json_answer({"exited": True, "exitCode": 0, **came}))
    async with tools(scripted, journal) as client:
        result = await client.exec()
        again = await client.call("vps_exec_result", exec_id=facts(result)["exec_id"])
    (told,) = facts(result)["notes"]
    assert told.startswith(note)
    assert f"note: {told}" in text(result)
    assert facts(again) == facts(result), "and again, from the journal"


# ------------------------------------------------------------------ through the tools


Read = Callable[..., object]


@pytest.fixture
def long_output(scripted: ScriptedApi) -> None:
    out = {"exited": True, "exitCode": 0, "stdout": LINES, "stderr": "warning\n"}
    scripted.script = flow(lambda: json_answer(out))


async def ran(client: Tools) -> str:
    return facts(await client.exec())["exec_id"]


@pytest.mark.usefixtures("long_output")
async def test_a_long_result_is_read_whole_by_its_own_offsets(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    async with tools(scripted, journal) as client:
        exec_id, got, offset = await ran(client), "", 0
        while offset is not None:
            part = facts(
                await client.call(
                    "vps_exec_result",
                    exec_id=exec_id, stream="stdout", offset=offset, max_bytes=10_000,
                )
            )  # fmt: skip
            assert part["stdout_bytes"] == len(LINES)
            assert part["stderr"] == ""
            assert "stderr: not shown, 8 bytes" in part["notes"]
            got += part["stdout"]
            offset = part["next_offset"]
    assert got == LINES


@pytest.mark.usefixtures("long_output")
async def test_lines_of_a_result(scripted: ScriptedApi, journal: SqliteStore) -> None:
    async with tools(scripted, journal) as client:
        exec_id = await ran(client)
        tail = facts(await client.call("vps_exec_result", exec_id=exec_id, tail_lines=1))
        assert (tail["stdout"], tail["stderr"]) == ("line 5000\n", "warning\n")
        found = await client.call("vps_exec_result", exec_id=exec_id, grep="warn|line 42$")
        assert facts(found)["stdout"] == "42:line 42\n"
        assert facts(found)["stderr"] == "1:warning\n"
        assert "showing 1 of 1 matching lines, of 5000 lines in all" in text(found)
        before = len(scripted.received)
        bad = await client.call("vps_exec_result", exec_id=exec_id, grep="(")
        assert bad.is_error
        assert text(bad).startswith("pattern_invalid: RE2 does not accept this pattern (")
        assert text(bad).endswith("Nothing was sent to HostUp.")
        both = await client.call("vps_exec_result", exec_id=exec_id, grep="x", tail_lines=1)
        assert text(both).startswith("argument_invalid: tail_lines cannot be combined with offset")
        assert len(scripted.received) == before, "a result of the journal costs no request"
