"""What is read of a command's state: every plausible form, and nothing lost to an odd one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hostup_mcp.hostup.agent import (
    CAPTURE_MAX_BYTES,
    AgentAvailability,
    CommandState,
    StartedCommand,
)


def read(document: object) -> CommandState:
    return CommandState.model_validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {"exited": True, "exitCode": 3, "stdout": "o", "stderr": "e"},
        {"exited": 1, "exitcode": "3", "out-data": "o", "err-data": "e"},
        {"exited": "true", "exit_code": 3.0, "stdout": "o", "stderr": "e", "pid": 5},
        {"exitCode": None, "exitcode": 3, "stdout": None, "out-data": "o", "stderr": "e"},
        {"success": True, "exited": True, "exitcode": 3, "stdout": "o", "stderr": "e"},
    ],
)
def test_a_result_in_every_form(document: object) -> None:
    state = read(document)
    assert (state.exited, state.exit_code, state.stdout, state.stderr) == (True, 3, "o", "e")


@pytest.mark.parametrize(
    "document", [{}, {"exited": False}, {"exited": 0}, {"exited": None, "pid": 4}, {"stdout": ""}]
)
def test_a_command_that_runs(document: object) -> None:
    assert read(document).exited is False


@pytest.mark.parametrize(
    "document", [{"exitCode": 0}, {"signal": 9}, {"stdout": "x"}, {"err-data": "x"}]
)
def test_a_result_without_exited_is_an_end(document: object) -> None:
    assert read(document).exited is True


@pytest.mark.parametrize("odd", ["", "x", [], {}, True, 1.5, 2**70, "SIGKILL", 1e300])
def test_an_odd_code_or_signal_counts_as_absent_and_loses_nothing(odd: object) -> None:
    state = read({"exited": True, "exitCode": odd, "signal": odd, "stdout": "kept"})
    assert (state.exit_code, state.signal, state.stdout) == (None, None, "kept")


def test_output_that_is_no_text_is_kept_as_json() -> None:
    assert read({"exited": True, "stdout": ["a", "å"]}).stdout == '["a", "å"]'


def test_a_full_buffer_counts_as_cut() -> None:
    assert read({"exited": True, "stdout": "x" * CAPTURE_MAX_BYTES}).stdout_truncated
    assert not read({"exited": True, "stdout": "x" * (CAPTURE_MAX_BYTES - 1)}).stdout_truncated
    assert read({"exited": True, "err-truncated": 1}).stderr_truncated
    assert not read({"exited": True, "err-truncated": False}).stderr_truncated


@pytest.mark.parametrize("document", [{"foo": 1}, {"exited": "perhaps"}, [], "x", None])
def test_what_is_no_state_is_an_error(document: object) -> None:
    with pytest.raises(ValidationError):
        read(document)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries(
    {"exited": st.just(True)},
    optional=dict.fromkeys(("exitCode", "signal", "stdout", "stderr", "pid"), anything),
))  # fmt: skip
def test_no_end_is_lost_to_a_field_of_another_type(document: dict[str, object]) -> None:
    state = read(document)
    assert state.exited
    if isinstance(document.get("stdout"), str):
        assert state.stdout == document["stdout"]


@pytest.mark.parametrize(("pid", "read_as"), [(5, 5), ("5", 5), (None, None)])
def test_a_pid(pid: object, read_as: int | None) -> None:
    assert StartedCommand.model_validate({"pid": pid}).pid == read_as


@pytest.mark.parametrize("pid", [0, -1, True, "x", 2**63])
def test_what_is_no_pid(pid: object) -> None:
    with pytest.raises(ValidationError):
        StartedCommand.model_validate({"pid": pid})


def test_only_a_true_is_available_and_the_older_message_is_a_reason() -> None:
    assert AgentAvailability.model_validate({}).available is None
    older = AgentAvailability.model_validate({"available": False, "message": "Off."})
    assert older.reason == "Off."
