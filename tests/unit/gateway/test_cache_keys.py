"""Cache keys on the wire: GitLab's runner joins them to a folder that projects of one repository URL share."""

from posixpath import join, normpath

import pytest

from contracts.builds import PlannedCache, Variable
from gateway.dialects.cache_keys import safe_key
from gateway.dialects.gitlab_job import job_object
from tests.unit.gateway.test_job_object import ASSIGNMENT, OFFER

OTHER = ASSIGNMENT.but(project=ASSIGNMENT.project.but(project_id=85))
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
    (sent,) = job_object(assignment.but(caches=(cache,)), OFFER)["cache"]
    return [sent["key"], *sent["fallback_keys"]]


def test_keys_name_the_project_and_the_protection() -> None:
    assert keys(fallback=("main", "main")) == ["84-shared-non_protected", "84-main-non_protected"]
    assert keys(ASSIGNMENT.but(protected=True), fallback=("main",)) == ["84-shared-protected", "84-main-protected"]


def test_no_two_projects_or_protections_share_a_key() -> None:
    jobs = [one.but(protected=protected) for one in (ASSIGNMENT, OTHER) for protected in (True, False)]
    named = ("shared", "shared-non", "shared-non_protected", "shared-protected", "84-shared")
    found = [key for job in jobs for name in named for key in keys(job, name)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_is_one_folder_below_the_runners_cache(key: str) -> None:
    for sent in keys(key=key, fallback=(key,)):
        path = join("/cache/group/project", sent, "cache.zip")
        assert path == normpath(path)
        assert sent.startswith("84-")
        assert sent.endswith("-non_protected")
        assert len(sent.encode()) <= 200
        assert not set(sent) & set("/\\%\0")


def test_different_keys_stay_different() -> None:
    similar = ["feature/x", "feature-x", "feature x", "feature\\x", "feature//x", "x" * 500, "x" * 501]
    assert len({safe_key(key) for key in similar}) == len(similar)


def test_an_ordinary_key_stays_readable() -> None:
    assert safe_key("deps-1.2_main@v3+x") == "deps-1.2_main@v3+x"
    assert safe_key("feature/x").startswith("feature-x-")


def test_variables_that_only_the_runner_knows_stay_for_it() -> None:
    assert safe_key("$CI_RUNNER_VERSION-deps.${CI_CONCURRENT_ID}") == "${CI_RUNNER_VERSION}-deps.${CI_CONCURRENT_ID}"


@pytest.mark.parametrize("protected", [True, False])
def test_the_variable_with_the_last_key_reads_no_cache_of_others(protected: bool) -> None:
    """An unprotected branch may not name a protected cache by it, and no project one of another."""
    wish = Variable(key="CACHE_FALLBACK_KEY", value="85-shared-protected")
    assignment = ASSIGNMENT.but(
        variables=(wish,), protected=protected, caches=(PlannedCache(key="shared", paths=("deps",)),)
    )
    job = job_object(assignment, OFFER)
    wanted = f"84-85-shared-protected-{'protected' if protected else 'non_protected'}"
    assert job["cache"][0]["fallback_keys"] == [wanted]
    assert [one["value"] for one in job["variables"] if one["key"] == "CACHE_FALLBACK_KEY"] == [wanted]


def test_of_a_job_without_caches_that_variable_is_a_variable_like_others() -> None:
    wish = Variable(key="CACHE_FALLBACK_KEY", value="main")
    (sent,) = (
        one for one in job_object(ASSIGNMENT.but(variables=(wish,)), OFFER)["variables"] if one["key"] == wish.key
    )
    assert sent["value"] == "main"


def test_the_server_says_that_it_separates_caches() -> None:
    assert job_object(ASSIGNMENT, OFFER)["features"]["separate_caches"] is True
