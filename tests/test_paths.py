"""Path rules against every path of a small world: what a pattern covers, meets, lets be read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.preset import Preset
from hostup_mcp.policy.values.path_blocks import PathBlock
from hostup_mcp.policy.values.path_patterns import PathPattern
from hostup_mcp.policy.values.paths import PathRules

LETTERS = "/a."
TEXTS = ["/" + "".join(t) for n in range(5) for t in itertools.product(LETTERS, repeat=n)]


def is_normal(path: str) -> bool:
    return path == "/" or not {"", ".", ".."} & set(path[1:].split("/"))


PATHS = [text for text in TEXTS if is_normal(text)]

tokens = st.sampled_from(["/", "a", ".", "*", "?", "**"])
rules = st.lists(tokens, max_size=4).map(lambda parts: "/" + "".join(parts))
parts = st.lists(st.sampled_from(["a", ".", "*", "?"]), min_size=1, max_size=3).map("".join)
globs = (
    st.lists(parts, min_size=1, max_size=2)
    .map(lambda names: "/" + "/".join(names))
    .filter(lambda text: ("*" in text or "?" in text) and "**" not in text and is_normal(text))
    # The grammar refuses a pattern after a leading dot.
    .filter(lambda text: not any(p[0] == "." and set("*?") & set(p) for p in text.split("/")[1:]))
)


def fits_rule(pattern: str, path: str) -> bool:
    """Whether a path fits a rule's pattern, by trying every way."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        return any(fits_rule(pattern[2:], path[n:]) for n in range(len(path) + 1))
    if pattern[0] == "*":
        within = path.split("/", maxsplit=1)[0]
        return any(fits_rule(pattern[1:], path[n:]) for n in range(len(within) + 1))
    if not path or (pattern[0] == "?" and path[0] == "/"):
        return False
    return pattern[0] in {"?", path[0]} and fits_rule(pattern[1:], path[1:])


def fits_glob(pattern: str, path: str) -> bool:
    """Whether a shell would expand a pattern to a path, name by name."""
    wanted, names = pattern.split("/"), path.split("/")
    return len(wanted) == len(names) and all(
        fits_rule(one, name) and bool(name) == bool(one) and (name[:1] != "." or one[:1] == ".")
        for one, name in zip(wanted, names, strict=True)
    )


@cache
def texts_of_rule(pattern: str) -> frozenset[str]:
    return frozenset(text for text in TEXTS if fits_rule(pattern, text))


@cache
def paths_of_glob(pattern: str) -> frozenset[str]:
    return frozenset(path for path in PATHS if fits_glob(pattern, path))


# ------------------------------------------------------------------ one pattern and another


@given(rules)
def test_one_path_against_one_pattern(pattern: str) -> None:
    expression = PathPattern(pattern).expression
    assert {text for text in TEXTS if expression.fullmatch(text)} == texts_of_rule(pattern)


@given(rules, rules)
@example("/a**", "/*a")
@example("/?", "/*")
@example("/**", "/**/a")
@example("/*a", "/*")
def test_what_a_rule_covers_is_a_part_of_it(wide: str, narrow: str) -> None:
    if PathPattern(wide).covers(PathPattern(narrow)):
        assert texts_of_rule(narrow) <= texts_of_rule(wide)


@given(rules, rules)
def test_a_rule_covers_itself_and_what_it_is_put_in_front_of(one: str, other: str) -> None:
    assert PathPattern(one).covers(PathPattern(one))
    assert PathPattern("/**").covers(PathPattern(one))
    assert PathPattern(f"{one}**").covers(PathPattern(one + other[1:]))


@given(rules, globs)
@example("/*", "/?.*")
@example("/a", "/?")
@example("/**/a", "/*")
def test_what_a_rule_covers_holds_all_that_a_shell_would_expand(rule: str, glob: str) -> None:
    if PathPattern(rule).covers(PathPattern(glob, expanded=True)):
        assert paths_of_glob(glob) <= texts_of_rule(rule)


@given(rules, rules)
@example("/a**a", "/*/*")
def test_rules_with_a_path_in_common_meet(one: str, other: str) -> None:
    meet = PathPattern(one).meets(PathPattern(other))
    assert meet == PathPattern(other).meets(PathPattern(one))
    if texts_of_rule(one) & texts_of_rule(other):
        assert meet
    # Of two tokens each, what they have in common is no longer than the longest text here.
    elif len(one) <= 3 and len(other) <= 3:
        assert not meet


@given(rules, globs)
@example("/**.a", "/*a")
@example("/*.a", "/*")
@example("/.*", "/*")
@example("/**/a", "/?*/*")
def test_a_rule_meets_whatever_a_shell_would_expand_to_one_of_its_paths(
    rule: str, glob: str
) -> None:
    if texts_of_rule(rule) & paths_of_glob(glob):
        assert PathPattern(rule).meets(PathPattern(glob, expanded=True))


@pytest.mark.parametrize(
    ("rule", "glob", "meet"),
    [
        ("/srv/.*", "/srv/*", False),
        ("/srv/.*", "/srv/?*", False),
        ("/srv/.*", "/srv/?nv", False),
        ("/srv/.*", "/srv/*.conf", False),
        ("/srv/.env", "/srv/.env", True),
        ("/srv/*.key", "/srv/*", True),
        ("/srv/*.key", "/srv/*.k?y", True),
        ("/srv/*.key", "/srv/*.conf", False),
        ("/srv/a/*", "/srv/*/b", True),
        ("/srv/a/*", "/srv/*", False),
        ("/srv/**", "/srv/*/*/x", True),
        ("/srv/a", "/srv/??", False),
    ],
)
def test_the_stars_of_a_shell_leave_out_a_leading_dot(rule: str, glob: str, meet: bool) -> None:
    assert PathPattern(rule).meets(PathPattern(glob, expanded=True)) is meet


# ------------------------------------------------------------------ blocks of rules

LETTERS_OF_BOTH = "/aA."
MIXED = ["/" + "".join(t) for n in range(4) for t in itertools.product(LETTERS_OF_BOTH, repeat=n)]
mixed_rules = st.lists(st.sampled_from(["/", "a", "A", "*", "?", "**"]), max_size=3).map(
    lambda parts: "/" + "".join(parts)
)
mixed_globs = (
    st.lists(
        st.lists(st.sampled_from(["a", "A", "*", "?"]), min_size=1, max_size=2).map("".join),
        min_size=1,
        max_size=2,
    )
    .map(lambda names: "/" + "/".join(names))
    .filter(lambda text: ("*" in text or "?" in text) and "**" not in text)
)


@given(mixed_rules, st.sampled_from(MIXED))
@example("/aA", "/Aa")
def test_what_denies_does_so_in_any_letter_case(rule: str, path: str) -> None:
    denied = make((False, [rule]), (True, ["/**"])).check_read(path, is_glob=False)
    if is_normal(path):
        assert bool(denied) == fits_rule(rule.lower(), path.lower())
        allowed = make((True, [rule])).check_read(path, is_glob=False)
        assert (allowed is None) == fits_rule(rule, path)


@given(mixed_rules, mixed_globs)
@example("/a", "/A*")
@example("/A*", "/a?")
def test_a_pattern_is_denied_that_reaches_a_name_in_another_letter_case(
    rule: str, glob: str
) -> None:
    paths = make((False, [rule]), (True, ["/**"]))
    reached = [path for path in MIXED if is_normal(path) and fits_glob(glob, path)]
    if any(fits_rule(rule.lower(), path.lower()) for path in reached):
        assert paths.check_read(glob, is_glob=True)


@given(mixed_rules, mixed_globs)
@example("/**/a", "/*/A")
@example("/*a", "/*")
def test_a_block_for_names_lets_through_only_what_may_have_another_name(
    rule: str, glob: str
) -> None:
    block = PathBlock(allows=False, patterns=(PathPattern(rule),), named=True)
    everything = PathBlock(allows=True, patterns=(PathPattern("/**"),))
    paths = PathRules([block, everything])
    reached = [path for path in MIXED if is_normal(path) and fits_glob(glob, path)]
    for path in reached:
        by_name = paths.check_read(path, is_glob=False)
        assert bool(by_name) == fits_rule(rule.lower(), path.lower())
    others = [path for path in reached if not fits_rule(rule.lower(), path.lower())]
    if others:
        assert paths.check_read(glob, is_glob=True) is None


@pytest.mark.parametrize(
    ("glob", "tree", "denied"),
    [
        ("/log/*.key", "", True),
        ("/log/*.KEY", "", True),
        ("/*/x.key", "", True),
        ("/log/*", "", False),
        ("/log/*.log", "", False),
        ("", "/log", False),
        ("", "/log/x.key", True),
        ("", "/log/.git", True),
        ("", "/log/.git/hooks", True),
    ],
)
def test_a_block_for_names_denies_what_has_no_other_name(
    glob: str, tree: str, denied: bool
) -> None:
    names = tuple(map(PathPattern, ("/**/*.key", "/**/.*", "/**/.*/**")))
    everything = PathBlock(allows=True, patterns=(PathPattern("/**"),))
    paths = PathRules([PathBlock(allows=False, patterns=names, named=True), everything])
    fault = paths.check_read(glob or tree, is_glob=bool(glob), tree=bool(tree))
    assert (fault.code if fault else None) == ("name_protected" if denied else None)


blocks = st.lists(st.tuples(st.booleans(), st.lists(rules, min_size=1, max_size=2)), max_size=3)


def make(*blocks: tuple[bool, list[str]], protected: bool = False) -> PathRules:
    return PathRules(
        [
            PathBlock(allows, tuple(PathPattern(text) for text in texts), protected and not allows)
            for allows, texts in blocks
        ]
    )


@given(blocks, globs)
@example([(False, ["/**.a"]), (True, ["/*"])], "/*a")
@example([(True, ["/a"]), (False, ["/.*"]), (True, ["/*"])], "/?")
def test_a_pattern_reads_only_what_can_be_read_by_name(
    listed: list[tuple[bool, list[str]]], glob: str
) -> None:
    paths = make(*listed)
    if paths.check_read(glob, is_glob=True) is None:
        for path in paths_of_glob(glob):
            assert paths.check_read(path, is_glob=False) is None, path


@given(blocks, st.sampled_from([path for path in PATHS if len(path) <= 3]))
@example([(True, ["/a/**"])], "/a")
@example([(False, ["/a"]), (True, ["/a**"])], "/a")
@example([(True, ["/**"])], "/")
def test_a_folder_is_read_only_where_all_below_it_can_be(
    listed: list[tuple[bool, list[str]]], folder: str
) -> None:
    paths = make(*listed)
    if paths.check_read(folder, is_glob=False, tree=True) is None:
        for path in PATHS:
            if path.startswith(f"{folder.rstrip('/')}/") and path != folder:
                assert paths.check_read(path, is_glob=False) is None, path


@given(blocks, st.sampled_from(PATHS))
def test_the_first_block_that_names_a_path_decides(
    listed: list[tuple[bool, list[str]]], path: str
) -> None:
    verdicts = [allows for allows, texts in listed if any(fits_rule(t, path) for t in texts)]
    fault = make(*listed).check_read(path, is_glob=False)
    assert (fault is None) == (verdicts[:1] == [True])
    if fault:
        # A name is only what keeps it from being read where it would be otherwise.
        assert fault.code == ("name_protected" if True in verdicts else "path_not_readable")


def test_the_readable_patterns_are_the_allowed_ones_in_order() -> None:
    assert make((True, ["/b", "/a"]), (False, ["/x"]), (True, ["/c"])).readable == (
        ("/b", "/a", "/c")
    )


def test_a_refusal_names_the_path_and_the_rule_that_protects_it() -> None:
    blocks = (False, ["/a/*.key", "/b"]), (True, ["/**"])
    named = make(*blocks).check_read("/a/x.key", is_glob=False)
    assert named
    assert named.code == "name_protected"
    assert "/a/x.key is protected by /a/*.key" in named.message
    assert "often hold secrets" in named.hint
    itself = make(*blocks, protected=True).check_read("/b", is_glob=False)
    assert itself
    assert itself.code == "path_protected"
    assert itself.message == "/b is protected."
    assert itself.hint.endswith("its content stays protected.")
    many = make(*blocks).check_read("/a/*.k*", is_glob=True)
    assert many
    assert (many.code, "/a/*.key" in many.message) == ("name_protected", True)
    many = make(*blocks, protected=True).check_read("/a/*.k*", is_glob=True)
    assert many
    assert many.code == "path_protected"
    nowhere = make((True, ["/a"])).check_read("/b/*", is_glob=True)
    assert nowhere
    assert nowhere.code == "path_not_readable"


# ------------------------------------------------------------------ forms of paths

PRESET = Preset("diagnostics").types.paths


def read(path: str) -> Mismatch | None:
    return PRESET.check_read(path, is_glob=False)


def glob(path: str) -> Mismatch | None:
    return PRESET.check_read(path, is_glob=True)


def tree(path: str) -> Mismatch | None:
    return PRESET.check_read(path, is_glob=False, tree=True)


def names(path: str) -> Mismatch | None:
    return PRESET.check_metadata(path, is_glob=False)


@pytest.mark.parametrize(
    ("check", "path", "code"),
    [
        (read, "-", None),
        (read, "/var/log/syslog", None),
        (read, "/var//log/./syslog", None),
        (read, "/var/log/with blank", None),
        (read, "/etc/nginx/nginx.conf", None),
        (read, "", "path_relative"),
        (read, "var/log/syslog", "path_relative"),
        (read, "./var/log/syslog", "path_relative"),
        (read, "/var/log/../../etc/shadow", "path_climbs"),
        (read, "/var/log/..", "path_climbs"),
        (read, "/var/log/a\nb", "path_characters"),
        (read, "/var/log/*", "path_characters"),
        (read, "/var/log/$x", "path_characters"),
        (read, "/var/log/" + "x" * 1015, None),
        (read, "/var/log/" + "x" * 1016, "path_too_long"),
        (read, "/etc/shadow", "path_protected"),
        (read, "//etc/./shadow", "path_protected"),
        (read, "/root/notes", "path_protected"),
        (read, "/etc/nginx/site.key", "path_not_readable"),
        (read, "/etc/nginx/sites-enabled/site.key", "name_protected"),
        (read, "/etc/nginx/sites-enabled/SITE.Key.1", "name_protected"),
        (read, "/ETC/Shadow", "path_protected"),
        (read, "/VAR/LOG/syslog", "path_not_readable"),
        (read, "/etc/nginx/.htpasswd", "path_not_readable"),
        (read, "/etc/nginx/.git/x.conf", "name_protected"),
        (read, "/srv/app/log", "path_not_readable"),
        (read, "/", "path_not_readable"),
        (read, "/etc", "path_not_readable"),
        (glob, "/var/log/*.log", None),
        (glob, "/var/log/nginx/????", None),
        (glob, "/etc/nginx/conf.d/*.conf", None),
        (glob, "/etc/nginx/*", "path_not_readable"),
        (glob, "/etc/nginx/*.conf", None),
        (glob, "/etc/nginx/*/*.conf", "name_protected"),
        (glob, "/etc/nginx/sites-enabled/*", None),
        (glob, "/etc/nginx/sites-enabled/*.key", "name_protected"),
        (glob, "/var/log/*", None),
        (glob, "/var/log/*/*.log", "path_protected"),
        (glob, "/var/log/journal/*/*", "path_protected"),
        (glob, "/var/log/?ournal/*/*", "path_protected"),
        (glob, "/var/log/btmp*", "name_protected"),
        (glob, "/etc/nginx/*.k*", "path_not_readable"),
        (glob, "/etc/nginx/*y", "path_not_readable"),
        (glob, "/etc/nginx/?*m", "path_not_readable"),
        (glob, "/etc/*/id_rsa", "path_protected"),
        (glob, "/etc/shado?", "path_protected"),
        (glob, "/srv/*.conf", "path_not_readable"),
        (glob, "/var/log/" + "x" * 118 + "*", None),
        (glob, "/var/log/" + "x" * 119 + "*", "path_too_long"),
        (glob, "/var/log/" + "x?" * 6, None),
        (glob, "/var/log/" + "x*" * 9, "glob_refused"),
        (glob, "var/log/*", "path_relative"),
        (glob, "/var/log/*/../x", "path_climbs"),
        (tree, "/var/log", "path_protected"),
        (tree, "/var/log/", "path_protected"),
        (tree, "/var/log/nginx", None),
        (tree, "/var/log/app/", None),
        (tree, "/var/log/installer", "path_protected"),
        (tree, "/var/log/app/.git", "name_protected"),
        (tree, "/usr/share/doc/nginx", None),
        (tree, "/var", "path_protected"),
        (tree, "/", "path_protected"),
        (tree, "/etc/nginx", "path_not_readable"),
        (tree, "-", "path_relative"),
        (names, "/etc/shadow", None),
        (names, ".", None),
        (names, "./etc", None),
        (names, "..", "path_relative"),
        (names, "./../etc", "path_climbs"),
        (names, "-", "path_relative"),
        (names, "etc", "path_relative"),
        (names, "/a/../b", "path_climbs"),
        (names, "/a\tb", "path_characters"),
    ],
)
def test_forms_of_paths(
    check: Callable[[str], Mismatch | None], path: str, code: str | None
) -> None:
    fault = check(path)
    assert (fault.code if fault else None) == code


def test_own_readable_paths_lift_nothing_that_is_protected() -> None:
    own = Preset("diagnostics", ["/**", "/etc/nginx/own.key", "/root/x"]).types.paths
    assert own.check_read("/srv/app/settings", is_glob=False) is None
    for path in ("/etc/shadow", "/root/x", "/home/u/.ssh/id_rsa", "/proc/1/environ", "/dev/sda"):
        fault = own.check_read(path, is_glob=False)
        assert fault
        assert fault.code == "path_protected"
        assert fault.hint.endswith("its content stays protected.")


def test_a_name_that_is_protected_is_lifted_by_the_exact_path_only() -> None:
    own = Preset("diagnostics", ["/**", "/etc/nginx/own.key"]).types.paths
    assert own.check_read("/etc/nginx/own.key", is_glob=False) is None
    for path in ("/etc/nginx/site.key", "/srv/app/site.key", "/srv/app/.env"):
        fault = own.check_read(path, is_glob=False)
        assert fault
        assert fault.code == "name_protected"
