"""Branches and tags that the patterns of a project protect."""

import pytest

from services.builds.domain.protected_refs import is_protected_ref


@pytest.mark.parametrize(
    ("ref", "patterns"),
    [
        ("refs/heads/main", ("main",)),
        ("refs/heads/release/1.0", ("main", "release/*")),
        ("refs/heads/anything", ("*",)),
        ("refs/tags/v1.0", ("main", "refs/tags/v*")),
    ],
)
def test_a_ref_that_matches_a_pattern_is_protected(ref: str, patterns: tuple[str, ...]) -> None:
    assert is_protected_ref(ref, patterns)


@pytest.mark.parametrize(
    ("ref", "patterns"),
    [
        ("refs/heads/main", ()),
        ("refs/heads/Main", ("main",)),
        ("refs/tags/main", ("main",)),
        ("refs/tags/v1.0", ("*", "re*", "v*")),
        ("refs/heads/refs/tags/v1.0", ("refs/tags/v*",)),
        ("refs/pull/7/head", ("*", "refs/*", "refs/tags/*")),
        ("refs/merge-requests/7/head", ("*", "refs/merge-requests/*")),
    ],
)
def test_other_refs_are_not_protected(ref: str, patterns: tuple[str, ...]) -> None:
    assert not is_protected_ref(ref, patterns)
