"""Which of the kernel's settings `sysctl` may show. They are the files below /proc/sys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.values.path_blocks import PathBlock, Places
from hostup_mcp.policy.values.path_forms import MAX_STARS
from hostup_mcp.policy.values.path_patterns import SETTINGS, PathPattern

# Dots or slashes, never both: what a mixture means depends on the program.
_SYSCTL = re.compile(
    r"[a-z*][A-Za-z0-9_*-]{0,63}(?:(?:[.][A-Za-z0-9_*-]{1,64}){0,9}|(?:/[A-Za-z0-9_*-]{1,64}){0,9})"
)
_EXPRESSION_PART = re.compile(r"\.\*|\.|\\\.|[A-Za-z0-9_/-]")

# Were any word taken for an interface's name, every expression would find its settings.
_INTERFACES: Final = (
    "all default lo eth en wl ww bond team br docker virbr vmbr veth vnet vlan vxlan tun tap wg "
    "ppp dummy cni cali flannel tailscale lxcbr lxdbr podman ib usb sit gre ip6tnl"
).split()


class KernelSettings:
    """The settings among the path rules: all but the protected ones may be read."""

    def __init__(self, blocks: Sequence[PathBlock], places: Places) -> None:
        self._blocks = blocks
        self._places = places

    def check_name(self, name: str, *, is_glob: bool) -> Mismatch | None:
        """Whether a kernel setting may be read, or all that a pattern or a group of them means.

        Settings are the files below /proc/sys; all but the protected ones may be.
        """
        if is_glob or not _SYSCTL.fullmatch(name) or name.count("*") > MAX_STARS:
            return Mismatch(
                "value_refused",
                f"{shown(name)} is not the name of a kernel setting.",
                hint="For example vm.swappiness, or 'net.core.*' in quotes.",
            )
        slashed = name.replace(".", "/")
        meant = [PathPattern.of_setting(name), PathPattern(f"{SETTINGS}{slashed}/**")]
        if not self._is_listed(meant[0]):
            # The end may be an interface's own. What is listed is a setting, not `eth0.forwarding`.
            meant.append(PathPattern.of_setting(name, "/**"))
        for pattern in self._kept_settings():
            if any(pattern.meets(one) for one in meant):
                return _kept(name, pattern)
        return None

    def check_expression(self, expression: str) -> Mismatch | None:
        """Whether none of the settings that a regular expression finds is protected.

        Only characters, `.`, `.*`, `^`, `$` and `|` are understood; sysctl (procps 4.0) looks for
        the expression in names with dots, where an interface's own dot is a slash.
        """
        for text in expression.split("|"):
            parts = _expression_parts(text)
            if parts is None:
                return Mismatch(
                    "value_refused",
                    f"{shown(expression)} is not an expression that can be judged here.",
                    hint="Write names or parts of names, with ., .*, ^ and $, and | between them: "
                    "'^net.core.rmem|swappiness'.",
                )
            found = PathPattern.of_expression(parts, text)
            for pattern in self._kept_settings():
                if any(name.meets(found) for name in _printed_names(pattern.text)):
                    return _kept(expression, pattern)
        return None

    def _is_listed(self, setting: PathPattern) -> bool:
        """Whether a name can mean a file of which it is known that it may be read."""
        return any(
            pattern.text.startswith(SETTINGS) and pattern.meets(setting)
            for block in self._blocks
            for pattern in (block.patterns if block.allows else ())
        )

    def _kept_settings(self) -> Iterator[PathPattern]:
        for block in self._blocks:
            if block.protected:
                yield from (one for one in block.patterns if one.text.startswith(SETTINGS))
        yield from (one for one in self._places.automounts if one.text.startswith(SETTINGS))


def _kept(name: str, pattern: PathPattern) -> Mismatch:
    return Mismatch(
        "path_protected",
        f"{shown(name)} would show what is protected ({pattern.text}).",
        hint="Name the one setting that you need.",
    )


@cache
def _printed_names(pattern: str) -> tuple[PathPattern, ...]:
    """The names of settings as sysctl prints them, with dots for slashes."""
    name = pattern.removeprefix(SETTINGS).replace("/", ".").removesuffix(".**")
    before, star, after = name.partition("*")
    tail = ("tail",) if star else ()
    return tuple(
        PathPattern.of_expression((*before, *head, *tail, *after), name)
        for head in (_INTERFACES if star else ("",))
    )


def _expression_parts(text: str) -> tuple[str, ...] | None:
    """What one alternative of a regular expression finds somewhere in a name; None if unclear."""
    starts, ends = text.startswith("^"), text.endswith("$")
    parts = [] if starts else ["**"]
    body = text.removeprefix("^").removesuffix("$")
    if not body:
        return None
    at = 0
    while at < len(body):
        found = _EXPRESSION_PART.match(body, at)
        if not found:
            return None
        sign = found.group()
        at = found.end()
        parts.append({".": "any", ".*": "**"}.get(sign, sign[-1]))
    return tuple(parts if ends else [*parts, "**"])
