"""Structured output of the journal shows the fields that are asked for, and those are harmless."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hostup_mcp.policy.judge import ApprovedCommand, Refusal
from hostup_mcp.policy.preset import preset_data
from hostup_mcp.suggestions.nearest import nearest
from tests.conftest import missing
from tests.runner_harness import POLICY

REMOTE = Path("/lib/systemd/systemd-journal-remote")
TYPES = preset_data().types
STRUCTURED = str(TYPES["journal_structured"]).split("|")
TEXT = str(TYPES["journal_text"]).split("|")
FIELDS = "--output-fields=MESSAGE,_PID"


@pytest.mark.parametrize("output", STRUCTURED)
@pytest.mark.parametrize(
    "form", ["-o {}", "-o{}", "--output={}", "--output {}", "-ao {}", "-xo{}", "-o {} -o short"]
)
@pytest.mark.parametrize("where", ["journalctl {} -n 5", "journalctl -n 5 _PID=1 {}"])
def test_structured_output_needs_the_fields(output: str, form: str, where: str) -> None:
    command = where.format(form.format(output))
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal), command
    if "_PID=1 -" not in command or refusal.code != "option_order":
        assert refusal.code == "option_missing"
        near = nearest(POLICY, command, refusal)[0]
        assert "--output-fields=" in near
        assert isinstance(POLICY.judge(near), ApprovedCommand)
    with_fields = command.replace("journalctl", f"journalctl {FIELDS}").replace("_PID=1 ", "")
    assert isinstance(POLICY.judge(with_fields), ApprovedCommand), with_fields


@pytest.mark.parametrize("output", TEXT)
def test_lines_of_text_need_none(output: str) -> None:
    for command in (f"journalctl -o {output} -n 5", f"systemctl status -o {output} nginx"):
        assert isinstance(POLICY.judge(command), ApprovedCommand), command


@pytest.mark.parametrize("output", STRUCTURED)
def test_a_status_shows_no_structured_log_lines(output: str) -> None:
    for command in (
        f"systemctl status -o {output} nginx", f"systemctl -o {output} status nginx",
        f"systemctl status nginx --output={output}", f"systemctl status -o{output} nginx",
    ):  # fmt: skip
        assert isinstance(POLICY.judge(command), Refusal), command


def test_a_match_is_on_a_field_that_may_be_shown() -> None:
    assert TYPES["journal_match"] == f"({TYPES['journal_field']})=[A-Za-z0-9@:._/ -]{{1,128}}"


@pytest.mark.parametrize(
    "field",
    ["COREDUMP_ENVIRON", "COREDUMP_PROC_AUXV", "COREDUMP_CMDLINE", "COREDUMP", "ENVIRON",
     "_KERNEL_ENVIRON", "X", "MESSAGE_X", "XMESSAGE", "message"],
)  # fmt: skip
@pytest.mark.parametrize(
    "form",
    ["-F {}", "--field={}", "-o cat --output-fields={}", "-o json --output-fields=MESSAGE,{}",
     "{}=a", "_PID=1 {}=a", "-o json --output-fields=MESSAGE --output-fields={}"],
)  # fmt: skip
def test_no_other_field_is_shown_counted_or_matched(field: str, form: str) -> None:
    command = f"journalctl {form.format(field)}"
    assert isinstance(POLICY.judge(command), Refusal), command


def test_the_real_program_shows_the_environment_in_no_accepted_form(tmp_path: Path) -> None:
    if not REMOTE.exists() or not shutil.which("journalctl"):
        missing("systemd-journal-remote")
    entry = {
        "__REALTIME_TIMESTAMP": "1700000000000000", "__MONOTONIC_TIMESTAMP": "100000",
        "_BOOT_ID": "0" * 31 + "1", "MESSAGE": "dumped core", "SYSLOG_IDENTIFIER": "x",
        "COREDUMP_ENVIRON": "KEY=hunter22",
    }  # fmt: skip
    text = "".join(f"{name}={value}\n" for name, value in entry.items()) + "\n"
    (tmp_path / "entry").write_text(text)
    journal = tmp_path / "x.journal"
    subprocess.run([REMOTE, "-o", journal, tmp_path / "entry"], check=True, capture_output=True)

    def said(*options: str) -> str:
        argv = ["journalctl", "--no-pager", "-q", "-a", "-x", "--file", str(journal), *options]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    for output in TEXT:
        assert "dumped core" in said("-o", output)
        assert "hunter22" not in said("-o", output)
    for output in STRUCTURED:
        assert "hunter22" in said("-o", output)
        assert "dumped core" in said("-o", output, FIELDS)
        assert "hunter22" not in said("-o", output, FIELDS)
