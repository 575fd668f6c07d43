"""The runner tells what is expected from what is not; the suite itself runs in `.ci/run`."""

from __future__ import annotations

from collections import Counter

from tests.conformance.__main__ import REVISIONS, Check, Expected, expected_failures, judge

PASSED = Check("ping/ping", "SUCCESS", "")
FAILED = Check("a/b", "FAILURE", "no")
LISTED = Expected(reason="a reason of some length", checks=("a/b",))


def test_only_what_is_listed_may_fail_and_all_of_that_must() -> None:
    assert judge("2026-07-28", [PASSED], [])
    assert judge("2026-07-28", [PASSED, FAILED], [LISTED])
    assert not judge("2026-07-28", [PASSED, FAILED], [])
    assert not judge("2026-07-28", [PASSED, Check("a/b", "WARNING", "")], [])
    assert not judge("2026-07-28", [PASSED], [LISTED]), "an entry that passes is stale"
    assert not judge("2026-07-28", [PASSED, Check("a/b", "SUCCESS", "")], [LISTED])
    other = LISTED.model_copy(update={"revisions": ("2025-11-25",)})
    assert not judge("2026-07-28", [PASSED, FAILED], [other])


def test_every_check_is_listed_once() -> None:
    for revision in REVISIONS:
        listed = Counter(
            name for entry in expected_failures() if revision in entry.revisions
            for name in entry.checks
        )  # fmt: skip
        assert listed
        assert set(listed.values()) == {1}
        assert all(len(name.split("/")) == 2 for name in listed)
