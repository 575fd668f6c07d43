"""The verdict on a command: an `ApprovedCommand`, or a `Refusal` that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final, Literal

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.preset import Preset, data_digest, program_name
from hostup_mcp.policy.programs.lookups import NETWORK_REFUSED
from hostup_mcp.policy.rules import Rule, RuleSet, Verdict, barred
from hostup_mcp.policy.shell.emit import PROLOGUE, emit_checked
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal

_NO_RULE: Final = "Nobody can allow it with a rule: only the preset unrestricted lets it run."
GENERAL_HINT: Final = "hostup://policy lists what is allowed."
"""The hint of a refusal that has no better one."""

_RULE_BY_PATH: Final = (
    "The operator, with a rule under policy.rules in the configuration file that names the program "
    "by its path."
)
_RULES: Final = "The operator, with a rule under policy.rules in the configuration file."
_WHO_CAN_CHANGE: Final = {
    "path_not_readable": "The operator, with policy.readable in the configuration file.",
    "not_read_only": "The operator, with policy.preset in the configuration file.",
    NETWORK_REFUSED: "The operator, with policy.network in the configuration file.",
    "path_protected": (
        "Nobody can open it with policy.readable: only a rule for this exact command, or the "
        "preset unrestricted, lets it run."
    ),
    "name_protected": (
        "The operator, with the file's exact path in policy.readable in the configuration file."
    ),
}


class _Seal:
    """Proof that a command comes from `Policy.judge`: made in this module only."""


_SEAL: Final = _Seal()


# With `slots=True`, Python 3.11.2 replaces the methods below by its own, which pickle and copy;
# so the slots are named here.
@dataclass(frozen=True, init=False)
class ApprovedCommand:
    """A command that passed the policy. Only `Policy.judge` makes one.

    Attributes:
        stages: what was judged.
        body: the canonical text of the stages.
        policy: the label of the policy that let it through, such as `diagnostics@0123456789ab`.
    """

    __slots__ = ("body", "policy", "stages")

    stages: tuple[Stage, ...]
    body: str
    policy: str

    def __init__(self, seal: _Seal, line: CommandLine, body: str, policy: str) -> None:
        if seal is not _SEAL:
            raise TypeError("only hostup_mcp.policy.judge.Policy makes an ApprovedCommand")
        object.__setattr__(self, "stages", line.stages)
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "policy", policy)

    @property
    def sent(self) -> str:
        """The text that is sent: a fixed prologue, then the body; never the agent's own text."""
        return PROLOGUE + self.body

    def __init_subclass__(cls) -> None:
        raise TypeError("an ApprovedCommand has no other kinds")

    def __getstate__(self) -> object:
        raise TypeError("an ApprovedCommand cannot be pickled or copied")

    def __setstate__(self, state: object) -> None:
        raise TypeError("an ApprovedCommand cannot be changed")

    def __reduce__(self) -> str:
        raise TypeError("an ApprovedCommand cannot be pickled or copied")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command may not be sent.

    Attributes:
        verdict: `deny`, or `ask` where a rule would have a human asked.
        code: stable, one of those in docs/policy.md.
        message: one sentence that names the token and the rule.
        offset: where the token stands in the command, in characters from 0.
        length: how many characters it has.
        hint: one sentence on what to write instead.
        who_can_change_it: one sentence, with the key of the configuration file.
        policy: the label of the policy that was asked.
        stages: what was judged; none where the command is not in the grammar.
    """

    verdict: Literal["ask", "deny"]
    code: str
    message: str
    offset: int
    length: int
    hint: str
    who_can_change_it: str
    policy: str
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Literal["ask", "deny"]
    stage: Stage
    fault: Mismatch
    who: str


class Policy:
    """What may run on one VPS, or on all that no other policy names."""

    def __init__(self, preset: Preset, rules: RuleSet, closed_by: str = "") -> None:
        """The policy.

        Args:
            preset: what it starts from.
            rules: the operator's own rules.
            closed_by: the key that closes the VPS to every command; empty where it is open.
        """
        self.preset = preset
        self.rules = rules
        self.closed_by = closed_by
        self.label = self._make_label()

    @property
    def unrestricted(self) -> bool:
        """Whether it sends anything that parses and that no rule refuses."""
        return self.preset.name == "unrestricted" and not self.closed_by

    def _make_label(self) -> str:
        """Its name and the digest of all that it is made of."""
        name = "closed" if self.closed_by else self.preset.name
        own = {
            "version": version("hostup-mcp"),
            "preset": self.preset.name,
            "network": self.preset.network,
            "closed": bool(self.closed_by),
            "readable": self.preset.types.paths.readable,
            "types": self.rules.types.definitions(),
            "rules": [rule.data.model_dump(mode="json") for rule in self.rules.rules],
        }
        text = json.dumps(own, sort_keys=True).encode()
        return f"{name}@{hashlib.sha256(data_digest() + text).hexdigest()[:12]}"

    def judge(self, text: str) -> ApprovedCommand | Refusal:
        """Parse a command, judge its stages, and rebuild it.

        Args:
            text: the command as the agent wrote it; any text at all.
        """
        if self.closed_by:
            return self._closed(text)
        line = parse(text)
        if isinstance(line, SyntaxRefusal):
            return self._syntax(line, ())
        worst = self._worst(line.stages)
        if worst is not None:
            return self._refusal(worst, line.stages)
        body = emit_checked(line)
        if isinstance(body, SyntaxRefusal):
            return self._syntax(body, line.stages)
        return ApprovedCommand(_SEAL, line, body, self.label)

    def _worst(self, stages: Sequence[Stage]) -> _Finding | None:
        """What decides about a command: its strictest verdict; of equals, the first."""
        asks: _Finding | None = None
        for stage in stages:
            found = self._judge_stage(stage)
            if found and found.verdict == "deny":
                return found
            asks = asks or found
        return self._together(stages) or asks

    def _together(self, stages: Sequence[Stage]) -> _Finding | None:
        """What decides about stages that are accepted one by one."""
        fault = self.preset.check_line(stages)
        return fault and _Finding("deny", fault[0], fault[1], _who(*fault))

    def verdict_on(self, stage: Stage) -> Verdict:
        """The verdict on one stage by itself."""
        found = self._judge_stage(stage)
        return found.verdict if found else "allow"

    def _judge_stage(self, stage: Stage) -> _Finding | None:
        rule = self.rules.find(stage)
        if rule is not None:
            return self._by_rule(stage, rule.data.verdict, rule.data.reason, rule.place)
        if self.preset.name == "unrestricted":
            return None
        fault = self.preset.check(stage.words)
        if fault is None:
            return None
        near = self.rules.near(stage)
        # Where the preset knows the program, its word on another subcommand is the better one.
        known = program_name(stage.words[0].text) in self.preset.commands
        if near is not None and (not known or near[1].index != 1):
            rule, mismatch = near
            return _Finding("deny", stage, _near_miss(rule, mismatch), _by(rule.place))
        return _Finding("deny", stage, fault, _who(stage, fault))

    def _by_rule(self, stage: Stage, verdict: Verdict, reason: str, place: str) -> _Finding | None:
        program = stage.words[0].text
        who = _by(place)
        match verdict:
            case "allow":
                return None
            case "ask":
                fault = Mismatch(
                    "approval_needed",
                    f"A rule says to ask a human first ({reason}), and this version cannot ask.",
                    hint=f"Ask the operator to run it, or to allow it ({program}).",
                )
                return _Finding("ask", stage, fault, who)
            case _:
                fault = Mismatch(
                    "rule_denied",
                    f"A rule of the operator's refuses this: {reason}.",
                    hint="Leave it out, or ask the operator.",
                )
                return _Finding("deny", stage, fault, who)

    def _refusal(self, found: _Finding, stages: Sequence[Stage]) -> Refusal:
        words, fault = found.stage.words, found.fault
        if 0 < fault.index < len(words):
            first = last = words[fault.index]
        elif fault.index == 0 and fault.code not in {"approval_needed", "rule_denied"}:
            first = last = words[0]
        else:
            first, last = words[0], words[-1]
        program = shown(words[0].text)
        about_program = fault.message.startswith(f"{program} ")
        return Refusal(
            verdict=found.verdict,
            code=fault.code,
            message=fault.message if about_program else f"{program}: {fault.message}",
            offset=first.offset,
            length=last.offset + last.length - first.offset,
            hint=fault.hint or GENERAL_HINT,
            who_can_change_it=found.who,
            policy=self.label,
            stages=tuple(stages),
        )

    def _syntax(self, refusal: SyntaxRefusal, stages: Sequence[Stage]) -> Refusal:
        return Refusal(
            verdict="deny",
            code=refusal.code,
            message=refusal.message,
            offset=refusal.offset,
            length=refusal.length,
            hint=refusal.hint,
            who_can_change_it="Nobody: the grammar is the same under every policy.",
            policy=self.label,
            stages=tuple(stages),
        )

    def _closed(self, text: str) -> Refusal:
        return Refusal(
            verdict="deny",
            code="vps_closed",
            message="This VPS is closed to commands.",
            offset=0,
            length=len(text),
            hint="Work on another VPS, or ask the operator.",
            who_can_change_it=_by(self.closed_by),
            policy=self.label,
        )


def _who(stage: Stage, fault: Mismatch) -> str:
    if fault.code in _WHO_CAN_CHANGE:
        return _WHO_CAN_CHANGE[fault.code]
    match barred(stage.words[0].text):
        case None:
            return _RULES
        case "shell_builtin":
            return _RULE_BY_PATH
        case _:
            return _NO_RULE


def _by(place: str) -> str:
    return f"The operator, with {place} in the configuration file."


def _near_miss(rule: Rule, mismatch: Mismatch) -> Mismatch:
    """What an own rule would have let through, where a command comes close to it."""
    form = " ".join(rule.data.argv)
    return replace(
        mismatch,
        message=f"A rule allows {form}, but this command differs: {mismatch.message}",
        hint=mismatch.hint or f"Write it as {form}.",
    )
