"""`ip`: global options, an object, a verb that is written out, and filters.

`ip` completes what is abbreviated, and not to what one thinks: `ip link s eth0 down` sets. So the
verb is one of a few whole words, or left out together with everything after the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.models import Ip
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.types import ValueTypes

_FAMILY_OPTIONS: Final = ("-f", "-family")
_FAMILIES: Final = ("inet", "inet6", "link")
_ROUTE: Final = ("r", "route")


def check_ip(spec: Ip, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after `ip` only show something. The index of a mismatch counts from 0."""
    index = 0
    while index < len(words) and words[index].text.startswith("-"):
        option = words[index].text
        if option in _FAMILY_OPTIONS:
            index += 1
            if index >= len(words) or words[index].text not in _FAMILIES:
                return _usage(f"{option} is followed by one of {', '.join(_FAMILIES)}", index - 1)
        elif option not in spec.globals:
            return Mismatch(
                "option_refused",
                f"The option {shown(option)} is not among those allowed here.",
                index,
                option=option,
            )
        index += 1
    if index >= len(words):
        return _usage("an object, such as addr, link or route, must be given", -1)
    thing = words[index].text
    if thing not in spec.objects:
        return _usage(f"{shown(thing)} is none of {', '.join(spec.objects)}", index)
    return _check_action(spec, words, index + 1, thing, types)


def _check_action(
    spec: Ip, words: Sequence[Word], index: int, thing: str, types: ValueTypes
) -> Mismatch | None:
    if index >= len(words):
        return None
    verb = words[index].text
    if verb == "get" and thing in _ROUTE:
        return _check_route_get(words, index + 1, types)
    if verb not in spec.verbs:
        return _usage(
            f"{shown(verb)} is none of {', '.join(spec.verbs)}, written out", index, option=verb
        )
    place = index + 1
    while place < len(words):
        kind = spec.values.get(words[place].text)
        place += kind is not None
        if place >= len(words):
            return _usage(f"{words[-1].text} needs a value", place - 1)
        if not _is_filter(spec, words[place], kind, types):
            return _usage(f"{shown(words[place].text)} is not an accepted filter", place)
        place += 1
    return None


def _is_filter(spec: Ip, word: Word, kind: str | None, types: ValueTypes) -> bool:
    """A value of this type; or, without one, a word of ip's own, an address or an interface.

    For whatever else stands there the kernel would look for a module of that name.
    """
    kinds = (kind,) if kind else ("address", "interface")
    known = kind is None and word.text in spec.filters
    return not word.is_glob and (known or any(not types.check(k, word.text) for k in kinds))


def _check_route_get(words: Sequence[Word], index: int, types: ValueTypes) -> Mismatch | None:
    if len(words) != index + 1:
        return _usage("route get takes one address", -1)
    fault = types.check("address", words[index].text, is_glob=words[index].is_glob)
    return fault.at(index) if fault else None


def _usage(why: str, index: int, option: str = "") -> Mismatch:
    return Mismatch(
        "usage_refused", f"In this form it is not accepted: {why}.", index, option=option
    )
