"""Which policy holds for which VPS, from the `policy` section of the configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from hostup_mcp.policy.judge import Policy
from hostup_mcp.policy.preset import Network, Preset, PresetName
from hostup_mcp.policy.rules import PolicyError, RuleData, RuleSet, check_rules, check_types
from hostup_mcp.policy.toml_fields import Model
from hostup_mcp.policy.values.definitions import Definition
from hostup_mcp.policy.values.path_patterns import PathPattern

_READABLE = re.compile(r"/[A-Za-z0-9_./:@%+,=*?-]{1,255}")
_NAME_PATTERN: Final = r"^[ -~]{1,255}$"
# Of the ids in HostUp's examples (get-v2-vps); whatever begins otherwise may be a name.
_ID_PREFIX: Final = "vps_"

_Preset = Annotated[
    PresetName,
    Field(description='"none", "diagnostics-strict", "diagnostics" or "unrestricted"'),
]
_Network = Annotated[Network | None, Field(description='"lookups" or "none"')]
_Readable = Annotated[
    tuple[str, ...], Field(description="a list of absolute path patterns, with *, ** and ?")
]
_Rules = Annotated[
    tuple[RuleData, ...],
    Field(
        description="tables with argv, verdict, reason, match and not_match, as docs/policy.md "
        "has them"
    ),
]


class VpsPolicyData(Model):
    """What differs for some VPSs (`policy.vps`).

    Attributes:
        vps: an id, a name, or a pattern with `*` and `?` that ids or names match.
        closed: no command at all may run there.
        preset: in place of the general one.
        network: in place of the general one.
        readable: path patterns beside the general ones.
        rules: rules beside the general ones.
        inherit: whether the general preset, network, rules and readable paths hold there too.
            Without them `preset` must be given.
    """

    vps: Annotated[str, Field(pattern=_NAME_PATTERN)]
    closed: bool = False
    preset: PresetName | None = None
    network: Network | None = None
    readable: tuple[str, ...] = ()
    rules: tuple[RuleData, ...] = ()
    inherit: bool = True

    @property
    def is_pattern(self) -> bool:
        """Whether it may name several VPSs."""
        return "*" in self.vps or "?" in self.vps

    @property
    def needs_name(self) -> bool:
        """Whether it may be about a VPS by its name: it does not look like an id."""
        return not self.vps.casefold().startswith(_ID_PREFIX)

    def names(self, text: str) -> bool:
        """Whether an id or a name is one of those meant; HostUp tells no case apart in names."""
        parts = {"*": ".*", "?": "."}
        pattern = "".join(parts.get(sign) or re.escape(sign) for sign in self.vps.casefold())
        return re.fullmatch(pattern, text.casefold(), re.DOTALL) is not None

    def ties_with(self, other: VpsPolicyData) -> bool:
        """Whether there can be a VPS that both name equally closely."""
        mine, theirs = (
            PathPattern(entry.vps.casefold().replace("*", "**")) for entry in (self, other)
        )
        return _closeness(self, "") == _closeness(other, "") and mine.meets(theirs)

    def is_exactly(self, text: str) -> bool:
        """Whether it is this very id or name."""
        return self.vps.casefold() == text.casefold()


class PolicyData(Model):
    """The `policy` section of the configuration.

    Attributes:
        preset: what every policy starts from.
        network: whether the preset's programs may look names up ("lookups") or ask the network for
            nothing ("none"). Not given, `diagnostics` may, and `diagnostics-strict` may not.
        readable: path patterns of files that may be read beside the preset's own.
        types: value types for the slots of rules, by name.
        rules: the operator's own rules.
        vps: what differs for some VPSs.
    """

    preset: _Preset = "diagnostics"
    network: _Network = None
    readable: _Readable = ()
    types: dict[str, Definition] = Field(
        default_factory=dict[str, Definition],
        description="a table of value types, as docs/policy.md has them",
    )
    rules: _Rules = ()
    vps: Annotated[
        tuple[VpsPolicyData, ...],
        Field(
            description="tables with vps and any of closed, preset, network, readable, rules "
            "and inherit"
        ),
    ] = ()


class Policies:
    """Every policy of the configuration, each compiled and checked."""

    def __init__(self, data: PolicyData) -> None:
        """The policies.

        Raises:
            PolicyError: for the first thing that cannot be used.
        """
        self.data = data
        self._presets: dict[tuple[PresetName, tuple[str, ...], Network | None], Preset] = {}
        _check_readable("policy.readable", data.readable)
        own = _placed("policy.rules", data.rules)
        self.default = self._policy(data.preset, data.readable, own, network=data.network)
        self.special: list[tuple[VpsPolicyData, Policy]] = []
        for number, entry in enumerate(data.vps):
            place = f"policy.vps[{number}]"
            if any(other.is_exactly(entry.vps) for other, _ in self.special):
                raise PolicyError(place, f"{entry.vps!a} is named twice.", "Merge the two entries.")
            if not (entry.inherit or entry.preset or entry.closed):
                raise PolicyError(
                    place,
                    "it inherits nothing, and has no preset of its own.",
                    'Give it a preset; with "none", only its own rules allow commands.',
                )
            _check_readable(f"{place}.readable", entry.readable)
            own = _placed(f"{place}.rules", entry.rules)
            inherited = self.default.rules if entry.inherit else None
            readable = (*data.readable, *entry.readable) if entry.inherit else entry.readable
            closed_by = f"{place}.closed" if entry.closed else ""
            preset = entry.preset or data.preset
            network = entry.network or (data.network if entry.inherit else None)
            policy = self._policy(preset, readable, own, closed_by, inherited, network)
            self.special.append((entry, policy))

    @property
    def is_unrestricted_somewhere(self) -> bool:
        """Whether some VPS takes anything that parses."""
        return any(p.unrestricted for p in (self.default, *(p for _, p in self.special)))

    def by_id(self, vps_id: str) -> Policy | None:
        """The policy, where the id alone decides; None where the name must be known."""
        if not self.special:
            return self.default
        return next((policy for entry, policy in self.special if entry.is_exactly(vps_id)), None)

    def find(self, vps_id: str, name: str | None) -> Policy:
        """The policy that names a VPS most closely: by id, by name, by the longest pattern.

        Where two patterns name it equally closely the VPS is closed, since nobody can have meant
        either for certain; likewise where entries may be about its name, and HostUp gave none.
        """
        ranked = sorted(
            (
                (_closeness(entry, vps_id), number)
                for number, (entry, _) in enumerate(self.special)
                if entry.names(vps_id) or (name is not None and entry.names(name))
            ),
            reverse=True,
        )
        is_meant = ranked and self.special[ranked[0][1]][0].is_exactly(vps_id)
        nameless = next((n for n, (e, _) in enumerate(self.special) if e.needs_name), None)
        if name is None and not is_meant and nameless is not None:
            why = f"policy.vps[{nameless}] (it may name this VPS, for which HostUp gives no name)"
            return self._policy("none", (), [], why)
        if not ranked:
            return self.default
        (closeness, first), rest = ranked[0], ranked[1:]
        if rest and rest[0][0] == closeness:
            both = (
                f"policy.vps[{rest[0][1]}] and policy.vps[{first}] (they name it equally closely)"
            )
            return self._policy("none", (), [], both)
        return self.special[first][1]

    def _policy(
        self,
        preset: PresetName,
        readable: tuple[str, ...],
        rules: Sequence[tuple[str, RuleData]],
        closed_by: str = "",
        inherited: RuleSet | None = None,
        network: Network | None = None,
    ) -> Policy:
        made = self._presets.get((preset, readable, network))
        if made is None:
            made = self._presets[preset, readable, network] = Preset(preset, readable, network)
        types = check_types(self.data.types, made, "policy.types")
        return Policy(made, check_rules(rules, types, inherited), closed_by)


def _closeness(entry: VpsPolicyData, vps_id: str) -> tuple[int, int]:
    literal = len(entry.vps.replace("*", "").replace("?", ""))
    if entry.is_pattern:
        return 0, literal
    return (2, 0) if entry.is_exactly(vps_id) else (1, 0)


def _placed(place: str, rules: Sequence[RuleData]) -> list[tuple[str, RuleData]]:
    return [(f"{place}[{number}]", rule) for number, rule in enumerate(rules)]


def _check_readable(place: str, patterns: Sequence[str]) -> None:
    for number, pattern in enumerate(patterns):
        parts = pattern.split("/")[1:]
        if not _READABLE.fullmatch(pattern) or {"", ".", ".."} & set(parts) or "***" in pattern:
            raise PolicyError(
                f"{place}[{number}]",
                f"{pattern!a} is not a pattern of absolute paths.",
                "For example: /srv/app/log/** or /opt/app/conf/*.conf.",
            )
