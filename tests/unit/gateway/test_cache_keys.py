"""Cache keys sent to runners. GitLab Runner uses a key as a subfolder of a folder per repository URL."""

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


def sent_keys(assignment: object = ASSIGNMENT, key: str = "shared", fallback: tuple[str, ...] = ()) -> list[str]:
    assert isinstance(assignment, type(ASSIGNMENT))
    cache = PlannedCache(key=key, paths=("deps",), fallback_keys=fallback)
    (sent,) = build_job_payload(assignment.replace(caches=(cache,)), OFFER)["cache"]
    return [sent["key"], *sent["fallback_keys"]]


def test_cache_keys_contain_the_project_and_the_protection() -> None:
    assert sent_keys(fallback=("main", "main")) == ["84-shared-non_protected", "84-main-non_protected"]
    assert sent_keys(ASSIGNMENT.replace(protected=True), fallback=("main",)) == [
        "84-shared-protected",
        "84-main-protected",
    ]


def test_no_two_projects_or_protections_share_a_cache_key() -> None:
    jobs = [
        assignment.replace(protected=protected) for assignment in (ASSIGNMENT, OTHER) for protected in (True, False)
    ]
    names = ("shared", "shared-non", "shared-non_protected", "shared-protected", "84-shared")
    all_keys = [key for job in jobs for name in names for key in sent_keys(job, name)]
    assert len(set(all_keys)) == len(all_keys)


@pytest.mark.parametrize("key", HOSTILE)
def test_a_cache_key_is_one_folder_below_the_cache_of_the_runner(key: str) -> None:
    for sent in sent_keys(key=key, fallback=(key,)):
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
    """A job of an unprotected branch must not reach protected caches, and no job may reach caches of other projects."""
    fallback = JobVariable(key="CACHE_FALLBACK_KEY", value="85-shared-protected")
    assignment = ASSIGNMENT.replace(
        variables=(fallback,), protected=protected, caches=(PlannedCache(key="shared", paths=("deps",)),)
    )
    job = build_job_payload(assignment, OFFER)
    expected = f"84-85-shared-protected-{'protected' if protected else 'non_protected'}"
    assert job["cache"][0]["fallback_keys"] == [expected]
    assert [variable["value"] for variable in job["variables"] if variable["key"] == "CACHE_FALLBACK_KEY"] == [expected]


def test_cache_fallback_key_is_unchanged_in_a_job_without_caches() -> None:
    fallback = JobVariable(key="CACHE_FALLBACK_KEY", value="main")
    (sent,) = (
        variable
        for variable in build_job_payload(ASSIGNMENT.replace(variables=(fallback,)), OFFER)["variables"]
        if variable["key"] == fallback.key
    )
    assert sent["value"] == "main"


def test_the_job_announces_separate_caches() -> None:
    assert build_job_payload(ASSIGNMENT, OFFER)["features"]["separate_caches"] is True
