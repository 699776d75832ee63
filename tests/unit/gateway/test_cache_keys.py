"""Cache keys on the wire: GitLab's runner joins them to a folder that projects of one repository URL share."""

from posixpath import join, normpath

import pytest

from contracts.builds import JobVariable, PlannedCache
from gateway.adapters.gitlab.cache_keys import sanitize_key
from gateway.adapters.gitlab.job_payload import build_job_payload
from tests.unit.gateway.test_job_object import ASSIGNMENT, OFFER

OTHER = ASSIGNMENT.replace(project=ASSIGNMENT.project.replace(project_id=85))
HOSTILE = (
    "../85-shared-protected",
    "x/../../85-shared",
    "..",
    ".",
    "%2e%2e%2f85-shared",
    "..\\85-shared",
    "a\0b",
    "$",
    "a $$ b",
    "x" * 4000,
    "ключ" * 100,
    "${A}" * 200,
)


def keys(assignment: object = ASSIGNMENT, key: str = "shared", fallback: tuple[str, ...] = ()) -> list[str]:
    assert isinstance(assignment, type(ASSIGNMENT))
    cache = PlannedCache(key=key, paths=("deps",), fallback_keys=fallback)
    (sent,) = build_job_payload(assignment.replace(caches=(cache,)), OFFER)["cache"]
    return [sent["key"], *sent["fallback_keys"]]


def test_cache_keys_contain_the_project_and_the_protection() -> None:
    assert keys(fallback=("main", "main")) == ["84-shared-non_protected", "84-main-non_protected"]
    assert keys(ASSIGNMENT.replace(protected=True), fallback=("main",)) == ["84-shared-protected", "84-main-protected"]


def test_no_two_projects_or_protections_share_a_cache_key() -> None:
    jobs = [one.replace(protected=protected) for one in (ASSIGNMENT, OTHER) for protected in (True, False)]
    named = ("shared", "shared-non", "shared-non_protected", "shared-protected", "84-shared")
    found = [key for job in jobs for name in named for key in keys(job, name)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("key", HOSTILE)
def test_a_cache_key_is_one_folder_below_the_cache_of_the_runner(key: str) -> None:
    for sent in keys(key=key, fallback=(key,)):
        path = join("/cache/group/project", sent, "cache.zip")
        assert path == normpath(path)
        assert sent.startswith("84-")
        assert sent.endswith("-non_protected")
        assert len(sent.encode()) <= 200
        assert not set(sent) & set("/\\%\0")


def test_different_cache_keys_stay_different() -> None:
    similar = ["feature/x", "feature-x", "feature x", "feature\\x", "feature//x", "x" * 500, "x" * 501]
    assert len({sanitize_key(key) for key in similar}) == len(similar)


def test_an_ordinary_cache_key_stays_readable() -> None:
    assert sanitize_key("deps-1.2_main@v3+x") == "deps-1.2_main@v3+x"
    assert sanitize_key("feature/x").startswith("feature-x-")


def test_variables_known_only_to_the_runner_stay_in_cache_keys() -> None:
    assert (
        sanitize_key("$CI_RUNNER_VERSION-deps.${CI_CONCURRENT_ID}") == "${CI_RUNNER_VERSION}-deps.${CI_CONCURRENT_ID}"
    )


@pytest.mark.parametrize("protected", [True, False])
def test_cache_fallback_key_cannot_name_a_cache_of_another_project(protected: bool) -> None:
    """An unprotected branch may not name a protected cache by it, and no project one of another."""
    wish = JobVariable(key="CACHE_FALLBACK_KEY", value="85-shared-protected")
    assignment = ASSIGNMENT.replace(
        variables=(wish,), protected=protected, caches=(PlannedCache(key="shared", paths=("deps",)),)
    )
    job = build_job_payload(assignment, OFFER)
    wanted = f"84-85-shared-protected-{'protected' if protected else 'non_protected'}"
    assert job["cache"][0]["fallback_keys"] == [wanted]
    assert [one["value"] for one in job["variables"] if one["key"] == "CACHE_FALLBACK_KEY"] == [wanted]


def test_cache_fallback_key_is_unchanged_in_a_job_without_caches() -> None:
    wish = JobVariable(key="CACHE_FALLBACK_KEY", value="main")
    (sent,) = (
        one
        for one in build_job_payload(ASSIGNMENT.replace(variables=(wish,)), OFFER)["variables"]
        if one["key"] == wish.key
    )
    assert sent["value"] == "main"


def test_the_job_announces_separate_caches() -> None:
    assert build_job_payload(ASSIGNMENT, OFFER)["features"]["separate_caches"] is True
