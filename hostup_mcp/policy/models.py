"""The schema of a preset's data: what each program may be given. Made from the TOML files."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from hostup_mcp.policy.toml_fields import Model, Typed, Words, split_keys
from hostup_mcp.policy.traits import Growth, Lookups, Needs, Script
from hostup_mcp.policy.values.definitions import Definition

Effect = Literal[
    "state", "exec", "write", "read", "hang", "secret", "net", "load", "elsewhere", "links",
    "pager", "heavy", "unnamed", "acts",
]  # fmt: skip
"""What a refused option would do; `refused.toml` has a sentence for each."""


Refused = Annotated[dict[Effect, Words], PlainSerializer(dict)]


class Entry(Model):
    """What every program's entry has.

    Attributes:
        read_only: whether it changes nothing beyond itself; else `effects` says what.
        effects: what it does beside reading.
        opens: paths below /dev and /sys that it opens of itself.
        builtin: a shell's own word that only ever treats its arguments as data.
        script: how it treats its words, where it is a script on some system.
        refused: well-known words that are left out on purpose, by what they would do.
        instead: what to put in place of a refused word, by that word.
        examples: commands that are let through, offered where nothing closer is found.
        lookups: when it asks the network for names; never where it is left out.
    """

    read_only: bool = True
    effects: str = ""
    opens: Words = ()
    builtin: bool = False
    script: Script | None = None
    refused: Refused = {}
    instead: dict[str, str] = {}
    examples: tuple[str, ...] = ()
    lookups: Lookups | None = None


class OptionSet(Model):
    """Options and operands in the manner of getopt.

    Attributes:
        flags: options without a value; short ones may be clustered.
        options: options with a value, in the same word or the next.
        attached: options with a value in the same word only; bare where also in `flags`.
        following: options whose value may be left out, or be the next word.
        separate: options whose value is the next word, whatever stands behind the letter.
        numeric: whether `-20` is accepted.
        words: literal operands, accepted as they are.
        first: type of the first operand, where it differs from the rest.
        first_unless: options that take the place of that first operand.
        operands: type of the operands; none where empty.
        min: least number of operands.
        max: largest number of operands. Up to two, each has a meaning of its own, so that no
            pattern, which can become any number, may stand there.
        counts: the only numbers of operands, where given.
        mode: options of which exactly one must stand.
        one_of: options of which at least one must stand.
        all_of: options that must all stand.
        recursive: flags that make the operands whole folders; of those that are read, one must
            stand.
        needs: options of which some values are accepted only beside another option.
        same_disk: flags that keep a walk through folders on one file system.
        depth: options, with the value in the next word, that bound how deep such a walk goes.
        acting: flags that do more than read, which `diagnostics-strict` leaves out.
        reading: options of which only values of another type do nothing but read; it takes those.
        retyped: flags under which values of some types must be of others.
    """

    flags: Words = ()
    options: Typed = {}
    attached: Typed = {}
    following: Typed = {}
    separate: Typed = {}
    numeric: bool = False
    words: Words = ()
    first: str = ""
    first_unless: Words = ()
    operands: str = ""
    min: int = 0
    max: int = 0
    counts: tuple[int, ...] = ()
    mode: Words = ()
    one_of: Words = ()
    all_of: Words = ()
    recursive: Words = ()
    needs: Needs = {}
    same_disk: Words = ()
    depth: Words = ()
    acting: Words = ()
    reading: Typed = {}
    retyped: Annotated[dict[str, dict[str, str]], BeforeValidator(split_keys)] = {}

    @cached_property
    def bare(self) -> frozenset[str]:
        """Every option that may stand without a value."""
        return frozenset((*self.flags, *self.mode, *self.following, *self.recursive))

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The names of every value type in use."""
        tables = (self.options, self.attached, self.following, self.separate, self.reading)
        named = [name for table in tables for name in table.values()]
        named += [need.values for need in self.needs.values()]
        named += [name for table in self.retyped.values() for name in table.values()]
        return tuple(name for name in (*named, self.first, self.operands) if name)


class Getopt(Entry, OptionSet):
    """A program with options and operands.

    Attributes:
        growth: what it adds to what it reads.
    """

    parser: Literal["getopt"]
    growth: tuple[Growth, ...] = ()


class Subcommand(OptionSet):
    """One subcommand; its own refused words come before the program's."""

    refused: Refused = {}


class Subcommands(Entry):
    """A program whose first operand names what it does.

    Attributes:
        default: whether it may be run without a subcommand.
        flags: accepted before and after every subcommand.
        options: likewise.
        subcommand: by name, of one word or two.
    """

    parser: Literal["subcommands"]
    default: bool = False
    flags: Words = ()
    options: Typed = {}
    subcommand: dict[str, Subcommand]


class Shapes(Entry):
    """A program of which only whole argument lists are accepted; `@type` is a slot."""

    parser: Literal["shapes"]
    shapes: tuple[Words, ...]


class PlainWords(Entry):
    """A program that prints its operands and does nothing else with them."""

    parser: Literal["words"]
    max: int


class Find(Entry):
    """`find`: paths, then tests.

    Attributes:
        tests: without a value.
        values: with one.
    """

    parser: Literal["find"]
    tests: Words
    values: Typed


class Ip(Entry):
    """`ip`: global options, an object, a verb written out, and filters.

    Attributes:
        objects: what it can show.
        verbs: the words for showing.
        globals: options before the object.
        filters: words that may follow the verb by themselves, beside addresses and interfaces.
        values: words with a value, by its type.
    """

    parser: Literal["ip"]
    objects: Words
    filters: Words
    values: Typed
    verbs: Words
    globals: Words


class Ps(Entry):
    """`ps`, by shapes that its several option styles cannot read in two ways.

    Attributes:
        bsd: letters that may stand in a first word without a dash.
        clusters: dashed words that choose processes and a format.
        out: dashed words that a column list follows.
        aux: dashed words that are read as the BSD letters they look like.
        plain: words that may be added to any shape.
        select: options that choose processes, by type.
        modifiers: options with a value that may be added to any shape, by type.
    """

    parser: Literal["ps"]
    bsd: str
    clusters: Words
    out: Words
    aux: Words
    plain: Words
    select: Typed
    modifiers: Typed


class Awk(Entry):
    """`awk` with a program of its small language, see `awk.py`."""

    parser: Literal["awk"]
    options: Typed
    operands: str
    max: int


class Sed(Entry):
    """`sed` with a script of its small language, see `sed.py`."""

    parser: Literal["sed"]
    flags: Words
    operands: str
    max: int


Command = Annotated[
    Getopt | Subcommands | Shapes | PlainWords | Find | Ip | Ps | Awk | Sed,
    Field(discriminator="parser"),
]


class RefusedNames(Model):
    """Programs that are in no preset for one reason."""

    why: str
    hint: str
    names: Words


class PathBlockData(Model):
    """One block of path rules: exactly one of `allow` and `deny`.

    Attributes:
        allow: patterns of paths that may be read.
        deny: patterns of paths that may not, in any letter case.
        protected: whether no setting lifts what is denied.
        named: whether only what is asked for by name is denied, see `paths.PathBlock`.
        why: completes "PATH ...", where it is not a secret that is kept in.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    protected: bool = False
    named: bool = False
    why: str = ""


class PlacesData(Model):
    """See `Places` in `paths.py`."""

    automounts: tuple[str, ...]
    unlisted: tuple[str, ...]
    ways: tuple[str, ...]
    disks: tuple[str, ...]
    kernel: tuple[str, ...]
    folders: tuple[str, ...]
    fifos: tuple[str, ...]


class OnDemand(Model):
    """Folders of the root folder in which whatever is named is looked up, and mounted."""

    folders: Words


class PresetData(Model):
    """All data of a preset.

    Attributes:
        types: value types by name.
        on_demand: folders in which a name is a host's.
        path: the blocks of path rules, in order.
        places: paths of which it matters that a program goes there at all.
        effects: a clause for each effect.
        refuse: programs that are refused for a reason of their own, by code.
        vital: values with which a program ends the machine or the way into it, by its name, or by
            its name and its first word.
        command: what each program may be given.
    """

    types: dict[str, Definition]
    on_demand: OnDemand
    path: tuple[PathBlockData, ...]
    places: PlacesData
    effects: dict[Effect, str]
    refuse: dict[str, RefusedNames]
    vital: dict[str, Words]
    command: dict[str, Command]


NEVER_BY_RULE: Final = ("wrapper", "interpreter", "shell_builtin")
"""The reasons that an operator's own rule cannot lift."""
