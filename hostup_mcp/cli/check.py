"""Answers the operator's questions to the policy: one command, many, or a file of expectations."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Annotated, Final, Literal, cast

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hostup_mcp.output.clean import one_line
from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.lint import lint
from hostup_mcp.policy.policies import Policies
from hostup_mcp.policy.rules import Verdict
from hostup_mcp.policy.shell.emit import emit
from hostup_mcp.policy.shell.tree import CommandLine, Operator, Redirection, Stage
from hostup_mcp.suggestions.nearest import Advice, advise

EXIT_CODES: Final[dict[Verdict, int]] = {"allow": 0, "ask": 3, "deny": 4}
_NO_LINE: Final = 2


class StageReport(BaseModel):
    """One stage as it was judged; `globs` has the indices of the words that are patterns."""

    argv: tuple[str, ...]
    globs: tuple[int, ...]
    operator: Operator | None
    redirections: tuple[Redirection, ...]


class RefusalReport(BaseModel):
    """Why a command is refused; `offset` and `length` count characters of the command."""

    code: str
    message: str
    offset: int
    length: int
    hint: str
    nearest: tuple[str, ...]


class Report(BaseModel):
    """The verdict on one command.

    `sent` is the text that would be sent: the prologue and `body`. Both are null unless the command
    is allowed. `command` is null if a line of a batch has none.
    """

    command: str | None
    verdict: Verdict
    sent: str | None
    body: str | None
    stages: tuple[StageReport, ...]
    refusal: RefusalReport | None


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    command: str


class _Expectation(_Line):
    model_config = ConfigDict(extra="forbid")

    expect: Annotated[
        Literal["allow", "ask", "deny"], Field(description="the verdict it should have")
    ]
    vps: str = ""
    name: str = ""


def policy_for(policies: Policies, vps: str = "", name: str = "") -> Policy:
    """The policy of a VPS, or the general one.

    Args:
        policies: all of them.
        vps: its id. A text that does not look like an id is also used as the name.
        name: its name.
    """
    if not (vps or name):
        return policies.default
    return policies.find(vps or name, name or (None if vps.startswith("vps_") else vps))


def report(policy: Policy, command: str) -> Report:
    """The verdict on one command."""
    decided = policy.judge(command)
    stages = tuple(_stage(stage) for stage in decided.stages)
    if isinstance(decided, ApprovedCommand):
        return Report(
            command=command,
            verdict="allow",
            sent=decided.sent,
            body=decided.body,
            stages=stages,
            refusal=None,
        )
    advice = advise(policy, command, decided)
    refusal = RefusalReport(
        code=decided.code,
        message=decided.message,
        offset=decided.offset,
        length=decided.length,
        hint=advice.hint,
        nearest=advice.nearest,
    )
    return Report(
        command=command,
        verdict=decided.verdict,
        sent=None,
        body=None,
        stages=stages,
        refusal=refusal,
    )


def check_one(policy: Policy, command: str, *, as_json: bool) -> int:
    """Print the verdict on one command.

    Returns:
        The exit code: 0 allow, 3 ask, 4 deny.
    """
    if as_json:
        found = report(policy, command)
        click.echo(_encode(found))
        return EXIT_CODES[found.verdict]
    decided = policy.judge(command)
    verdict: Verdict = "allow" if isinstance(decided, ApprovedCommand) else decided.verdict
    lines = [f"verdict: {verdict} (policy {policy.label})", *_stage_lines(policy, decided.stages)]
    if isinstance(decided, ApprovedCommand):
        lines.append(f"sent: {decided.sent}")
    else:
        lines += _refusal_lines(decided, advise(policy, command, decided), command)
    click.echo("\n".join(lines))
    return EXIT_CODES[verdict]


def check_batch(policy: Policy, lines: Iterable[bytes]) -> int:
    """Print the verdicts on many commands, JSON Lines in and out, in order.

    Returns:
        The exit code: 0, or 2 if a line has no command.
    """
    exit_code = 0
    for line in _not_blank(lines):
        try:
            command = _Line.model_validate(_decode(line)).command
        except ValueError:
            exit_code = _NO_LINE
            _write(_unreadable(line))
        else:
            _write(report(policy, command))
    sys.stdout.flush()
    return exit_code


def check_expectations(policies: Policies, lines: Iterable[bytes], name: str) -> int:
    """Print each line of a file whose verdict is not the one that it expects.

    Returns:
        The exit code: 0 if all are as expected, 1 if not, 2 if a line cannot be read.
    """
    wrong = unreadable = count = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        count += 1
        try:
            wanted = _Expectation.model_validate(_decode(line))
        except ValueError as error:
            unreadable += 1
            click.echo(f"{name}:{number}: cannot be read: {_reason(error)}")
            continue
        found = report(policy_for(policies, wanted.vps, wanted.name), wanted.command)
        if found.verdict != wanted.expect:
            wrong += 1
            why = f" ({found.refusal.code}: {found.refusal.message})" if found.refusal else ""
            command = one_line(wanted.command, 200)
            click.echo(f"{name}:{number}: {command}: {found.verdict}, not {wanted.expect}{why}")
    click.echo(f"{count - wrong - unreadable} of {count} as expected.")
    return _NO_LINE if unreadable or not count else int(wrong > 0)


def print_findings(policies: Policies) -> int:
    """Print the linter's findings on the policy.

    Returns:
        The exit code: 0 if there are none, 1 if there are any.
    """
    findings = lint(policies)
    for finding in findings:
        click.echo(f"{finding.place}: {finding.code}: {finding.message} {finding.advice}")
    if not findings:
        click.echo("No findings.")
    return int(bool(findings))


def _stage(stage: Stage) -> StageReport:
    return StageReport(
        argv=stage.argv,
        globs=stage.globs,
        operator=stage.operator,
        redirections=stage.redirections,
    )


def _stage_lines(policy: Policy, stages: Iterable[Stage]) -> Iterator[str]:
    for number, stage in enumerate(stages, start=1):
        alone = emit(CommandLine((Stage(None, stage.words, stage.redirections),)))
        operator = f"{stage.operator} " if stage.operator else ""
        yield f"{number}. {policy.verdict_on(stage)}: {operator}{alone}"


def _refusal_lines(refusal: Refusal, advice: Advice, command: str) -> Iterator[str]:
    yield f"{refusal.code}: {one_line(refusal.message, 1000)}"
    if command.isprintable():
        yield f"  {command}"
        yield f"  {' ' * refusal.offset}{'^' * max(1, refusal.length)}"
    yield advice.hint
    for near in advice.nearest:
        yield f"nearest allowed: {near}"
    yield f"who can change it: {refusal.who_can_change_it}"


def _not_blank(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.strip())


def _decode(line: bytes) -> object:
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unreadable(line: bytes) -> Report:
    refusal = RefusalReport(
        code="line_invalid",
        message="This line of the batch is not a JSON object with a text under command.",
        offset=0,
        length=0,
        hint='Write {"command": "df -h"}, one object a line, in UTF-8.',
        nearest=(),
    )
    shown = line[:200].decode("utf-8", "replace").strip()
    return Report(
        command=None,
        verdict="deny",
        sent=None,
        body=None,
        stages=(),
        refusal=refusal.model_copy(update={"message": f"{refusal.message} It begins: {shown}"}),
    )


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        return f"{where}: {first['msg']}"
    return str(error)


def _encode(found: Report) -> str:
    # ASCII only: a command may hold lone surrogates, which UTF-8 has no bytes for.
    return json.dumps(found.model_dump(mode="python"), ensure_ascii=True)


def _write(found: Report) -> None:
    sys.stdout.write(_encode(found) + "\n")


def read_lines(path: str, use: Callable[[IO[bytes]], int]) -> int:
    """Call `use` with the lines of a file, or of standard input for `-`.

    Raises:
        click.UsageError: the file cannot be read.
    """
    if path == "-":
        return use(_standard_input())
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 - an invalid path raises only OSError here
    except (OSError, ValueError) as error:
        raise _unreadable_file(path, error) from None
    with file:
        try:
            file.peek(1)  # a folder can be opened but not read
        except OSError as error:
            raise _unreadable_file(path, error) from None
        return use(file)


def _standard_input() -> IO[bytes]:
    # Despite its type, it is None if the descriptor is closed.
    if cast("object", sys.stdin) is None:
        raise click.UsageError("stdin is closed: there is nothing to read.")
    return sys.stdin.buffer


def _unreadable_file(path: str, error: Exception) -> click.UsageError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return click.UsageError(f"{path} cannot be read ({reason}).")
