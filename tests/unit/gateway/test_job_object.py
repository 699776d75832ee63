"""The job as GitLab-compatible runners read it."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    Assignment,
    LaunchedProject,
    PlannedCache,
    PlannedImage,
    PlannedVariable,
    RegistryLogin,
    RunnerOffer,
    Variable,
)
from gateway.dialects.gitlab_job import job_object

OFFER = RunnerOffer(runner_id=1, runner_uuid="r-1", name="one")
ASSIGNMENT = Assignment(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    attempt=1,
    token="t",
    name="build",
    stage="build",
    ref="refs/heads/feature/x",
    sha="f9a06e6e677efa280834f7bb7d17f5355f1e31df",
    project=LaunchedProject(
        project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="*", spec_file_path="/c"
    ),
    script=("true",),
    variables=(),
    image=None,
    timeout_seconds=3600,
    queued_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def test_every_key_that_a_runner_breaks_without_is_there() -> None:
    job = job_object(ASSIGNMENT, OFFER)
    assert {
        "id",
        "token",
        "job_info",
        "git_info",
        "variables",
        "steps",
        "image",
        "services",
        "dependencies",
    } <= job.keys()
    assert all(one.keys() == {"key", "value", "public", "masked", "file", "raw"} for one in job["variables"])
    assert isinstance(job["id"], int)


def test_what_follows_the_script_is_a_step_of_its_own() -> None:
    assignment = ASSIGNMENT.but(after_script=("echo after",), after_script_seconds=300)
    script, after = job_object(assignment, OFFER)["steps"]
    assert (script["name"], script["when"]) == ("script", "on_success")
    assert after == {
        "name": "after_script",
        "script": ["echo after"],
        "timeout": 300,
        "when": "always",
        "allow_failure": True,
    }


def test_a_branch_is_fetched_by_its_name() -> None:
    git = job_object(ASSIGNMENT, OFFER)["git_info"]
    assert (git["ref"], git["ref_type"]) == ("feature/x", "branch")
    assert git["refspecs"] == ["+refs/heads/feature/x:refs/remotes/origin/feature/x"]


def test_a_tag_is_fetched_as_a_tag() -> None:
    git = job_object(ASSIGNMENT.but(ref="refs/tags/v1"), OFFER)["git_info"]
    assert (git["ref"], git["ref_type"], git["refspecs"]) == ("v1", "tag", ["+refs/tags/v1:refs/tags/v1"])


@pytest.mark.parametrize(("most", "timeout"), [(None, 3600), (60, 60), (7200, 3600)])
def test_the_runner_may_shorten_the_time_but_not_lengthen_it(most: int | None, timeout: int) -> None:
    job = job_object(ASSIGNMENT, OFFER.but(max_timeout_seconds=most))
    assert (job["runner_info"]["timeout"], job["steps"][0]["timeout"]) == (timeout, timeout)


def test_an_image_is_an_object_with_a_name() -> None:
    assert job_object(ASSIGNMENT.but(image="alpine"), OFFER)["image"] == {"name": "alpine"}


def variables_of(body: bytes) -> dict[str, tuple[str, bool]]:
    job = job_object(ASSIGNMENT, OFFER, body)
    return {one["key"]: (one["value"], one["file"]) for one in job["variables"] if one["key"].startswith("FREE_COMMIT")}


def test_the_body_of_a_webhook_is_a_variable_and_a_file() -> None:
    assert variables_of('{"text": "ä\n"}'.encode()) == {
        "FREE_COMMIT_REQUEST_BODY": ("eyJ0ZXh0IjogIsOkCiJ9", False),
        "FREE_COMMIT_REQUEST_BODY_FILE": ('{"text": "ä\n"}', True),
    }


def test_without_a_webhook_both_are_empty() -> None:
    empty = {"FREE_COMMIT_REQUEST_BODY": ("", False), "FREE_COMMIT_REQUEST_BODY_FILE": ("", True)}
    assert variables_of(b"") == empty


@pytest.mark.parametrize(("size", "fits"), [(98_283, True), (98_284, False), (200 * 1024, False)])
def test_what_no_environment_could_hold_is_in_the_file_alone(size: int, fits: bool) -> None:
    """A process takes 131,072 bytes of `FREE_COMMIT_REQUEST_BODY=<base64>` and the zero after it."""
    found = variables_of(b"x" * size)
    assert bool(found["FREE_COMMIT_REQUEST_BODY"][0]) is fits
    assert found["FREE_COMMIT_REQUEST_BODY_FILE"] == ("x" * size, True)


@pytest.mark.parametrize(("size", "packed"), [(98_283, False), (98_284, True)])
def test_a_large_body_is_packed_for_runners_that_quote_files(size: int, packed: bool) -> None:
    assignment = ASSIGNMENT.but(after_script=("echo after",))
    job = job_object(assignment, OFFER, b"x" * size, quotes_files=True)
    (sent,) = (one["value"] for one in job["variables"] if one["key"] == "FREE_COMMIT_REQUEST_BODY_FILE")
    assert (len(sent) < size) is packed
    assert [len(step["script"]) for step in job["steps"]] == ([2, 2] if packed else [1, 1])


def test_no_secret_takes_the_place_of_the_body() -> None:
    secret = Variable(key="FREE_COMMIT_REQUEST_BODY", value="secret", masked=True)
    job = job_object(ASSIGNMENT.but(variables=(secret,)), OFFER, b"{}")
    assert [one["value"] for one in job["variables"] if one["key"] == "FREE_COMMIT_REQUEST_BODY"] == ["e30="]


def test_what_a_pipeline_says_of_images_services_and_caches_reaches_the_runner() -> None:
    assignment = ASSIGNMENT.but(
        image="debian:12",
        container=PlannedImage(name="debian:$V", entrypoint=("",), pull_policy=("always",)),
        services=(PlannedImage(name="redis", alias="store"),),
        caches=(PlannedCache(key="main", paths=(".deps",)),),
    )
    job = job_object(assignment, OFFER)
    assert job["image"] == {"name": "debian:12", "entrypoint": [""], "pull_policy": ["always"]}
    assert job["services"] == [{"name": "redis", "alias": "store"}]
    assert job["cache"] == [
        {
            "key": "84-main-non_protected",
            "paths": [".deps"],
            "untracked": False,
            "policy": "pull-push",
            "when": "on_success",
            "fallback_keys": [],
        }
    ]


def test_no_variable_takes_the_place_of_the_path_that_runners_must_not_find() -> None:
    named = Variable(key="CI_CONFIG_PATH", value=".gitlab-ci.yml")
    job = job_object(ASSIGNMENT.but(variables=(named,)), OFFER)
    (found,) = [one["value"] for one in job["variables"] if one["key"] == "CI_CONFIG_PATH"]
    assert found != ".gitlab-ci.yml"


def test_logins_at_registries_are_credentials() -> None:
    known = RegistryLogin(url="registry.example", username="ada", password="p")
    assert job_object(ASSIGNMENT.but(registry_logins=(known,)), OFFER)["credentials"] == [
        {"type": "registry", "url": "registry.example", "username": "ada", "password": "p"}
    ]


def test_a_service_has_variables_of_its_own() -> None:
    database = PlannedImage(name="postgres", variables=(PlannedVariable(key="POSTGRES_DB", value="shop"),))
    (service,) = job_object(ASSIGNMENT.but(services=(database,)), OFFER)["services"]
    (variable,) = service["variables"]
    assert (variable["key"], variable["value"], variable["file"]) == ("POSTGRES_DB", "shop", False)


def test_the_commit_before_a_push_is_told() -> None:
    assert job_object(ASSIGNMENT.but(before_sha="b" * 40), OFFER)["git_info"]["before_sha"] == "b" * 40
    assert job_object(ASSIGNMENT, OFFER)["git_info"]["before_sha"] == "0" * 40


@pytest.mark.parametrize("protected", [True, False])
def test_a_runner_is_told_whether_the_branch_is_protected(protected: bool) -> None:
    job = job_object(ASSIGNMENT.but(protected=protected), OFFER)
    assert job["git_info"]["protected"] is protected
