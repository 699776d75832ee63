"""The job payload for GitLab-compatible runners."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    Assignment,
    JobVariable,
    LaunchedProject,
    PlannedCache,
    PlannedImage,
    PlannedVariable,
    RegistryLogin,
    RunnerDescription,
)
from gateway.adapters.gitlab.job_payload import build_job_payload

OFFER = RunnerDescription(runner_id=1, runner_uuid="r-1", name="one")
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


def test_the_job_object_has_every_key_that_runners_require() -> None:
    job = build_job_payload(ASSIGNMENT, OFFER)
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
    assert all(variable.keys() == {"key", "value", "public", "masked", "file", "raw"} for variable in job["variables"])
    assert isinstance(job["id"], int)


def test_the_after_script_is_a_separate_step() -> None:
    assignment = ASSIGNMENT.replace(after_script=("echo after",), after_script_seconds=300)
    script, after = build_job_payload(assignment, OFFER)["steps"]
    assert (script["name"], script["when"]) == ("script", "on_success")
    assert after == {
        "name": "after_script",
        "script": ["echo after"],
        "timeout": 300,
        "when": "always",
        "allow_failure": True,
    }


def test_a_branch_is_fetched_by_name() -> None:
    git = build_job_payload(ASSIGNMENT, OFFER)["git_info"]
    assert (git["ref"], git["ref_type"]) == ("feature/x", "branch")
    assert git["refspecs"] == ["+refs/heads/feature/x:refs/remotes/origin/feature/x"]


@pytest.mark.parametrize("ref", ["refs/pull/7/head", "refs/merge-requests/7/head"])
def test_a_pull_request_is_fetched_by_its_head_in_the_repository(ref: str) -> None:
    by_ref = build_job_payload(ASSIGNMENT.replace(ref=ref, served_by_hash=False), OFFER)["git_info"]
    assert (by_ref["ref_type"], by_ref["refspecs"]) == ("branch", [f"+{ref}:{ref}"])
    by_hash = build_job_payload(ASSIGNMENT.replace(ref=ref, served_by_hash=True), OFFER)["git_info"]
    assert by_hash["refspecs"] == [f"+{ASSIGNMENT.sha}:{ref}"]


def test_a_tag_is_fetched_by_its_tag_ref() -> None:
    git = build_job_payload(ASSIGNMENT.replace(ref="refs/tags/v1"), OFFER)["git_info"]
    assert (git["ref"], git["ref_type"], git["refspecs"]) == ("v1", "tag", ["+refs/tags/v1:refs/tags/v1"])


@pytest.mark.parametrize(("runner_limit", "timeout"), [(None, 3600), (60, 60), (7200, 3600)])
def test_the_runner_may_only_shorten_the_job_timeout(runner_limit: int | None, timeout: int) -> None:
    job = build_job_payload(ASSIGNMENT, OFFER.replace(max_timeout_seconds=runner_limit))
    assert (job["runner_info"]["timeout"], job["steps"][0]["timeout"]) == (timeout, timeout)


def test_an_image_is_sent_as_an_object_with_a_name() -> None:
    assert build_job_payload(ASSIGNMENT.replace(image="alpine"), OFFER)["image"] == {"name": "alpine"}


def variables_of(body: bytes) -> dict[str, tuple[str, bool]]:
    job = build_job_payload(ASSIGNMENT, OFFER, body)
    return {
        variable["key"]: (variable["value"], variable["file"])
        for variable in job["variables"]
        if variable["key"].startswith("FREE_COMMIT")
    }


def test_the_webhook_body_is_sent_as_a_variable_and_a_file() -> None:
    assert variables_of('{"text": "ä\n"}'.encode()) == {
        "FREE_COMMIT_REQUEST_BODY": ("eyJ0ZXh0IjogIsOkCiJ9", False),
        "FREE_COMMIT_REQUEST_BODY_FILE": ('{"text": "ä\n"}', True),
    }


def test_without_a_webhook_the_body_variable_and_file_are_empty() -> None:
    empty = {"FREE_COMMIT_REQUEST_BODY": ("", False), "FREE_COMMIT_REQUEST_BODY_FILE": ("", True)}
    assert variables_of(b"") == empty


@pytest.mark.parametrize(("size", "fits"), [(98_283, True), (98_284, False), (200 * 1024, False)])
def test_a_webhook_body_too_large_for_a_variable_is_sent_only_as_a_file(size: int, fits: bool) -> None:
    """Linux limits the string `FREE_COMMIT_REQUEST_BODY=<base64>`, with its final zero byte, to 131,072 bytes."""
    variables = variables_of(b"x" * size)
    assert bool(variables["FREE_COMMIT_REQUEST_BODY"][0]) is fits
    assert variables["FREE_COMMIT_REQUEST_BODY_FILE"] == ("x" * size, True)


@pytest.mark.parametrize(("size", "packed"), [(98_283, False), (98_284, True)])
def test_a_large_body_is_compressed_for_runners_that_quote_files(size: int, packed: bool) -> None:
    assignment = ASSIGNMENT.replace(after_script=("echo after",))
    job = build_job_payload(assignment, OFFER, b"x" * size, quotes_files=True)
    (sent,) = (variable["value"] for variable in job["variables"] if variable["key"] == "FREE_COMMIT_REQUEST_BODY_FILE")
    assert (len(sent) < size) is packed
    assert [len(step["script"]) for step in job["steps"]] == ([2, 2] if packed else [1, 1])


def test_a_secret_cannot_override_the_webhook_body() -> None:
    secret = JobVariable(key="FREE_COMMIT_REQUEST_BODY", value="secret", masked=True)
    job = build_job_payload(ASSIGNMENT.replace(variables=(secret,)), OFFER, b"{}")
    assert [variable["value"] for variable in job["variables"] if variable["key"] == "FREE_COMMIT_REQUEST_BODY"] == [
        "e30="
    ]


def test_images_services_and_caches_of_a_pipeline_reach_the_runner() -> None:
    assignment = ASSIGNMENT.replace(
        image="debian:12",
        container=PlannedImage(name="debian:$V", entrypoint=("",), pull_policy=("always",)),
        services=(PlannedImage(name="redis", alias="store"),),
        caches=(PlannedCache(key="main", paths=(".deps",)),),
    )
    job = build_job_payload(assignment, OFFER)
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


def test_a_variable_cannot_override_ci_config_path() -> None:
    named = JobVariable(key="CI_CONFIG_PATH", value=".gitlab-ci.yml")
    job = build_job_payload(ASSIGNMENT.replace(variables=(named,)), OFFER)
    (value,) = [variable["value"] for variable in job["variables"] if variable["key"] == "CI_CONFIG_PATH"]
    assert value != ".gitlab-ci.yml"


def test_registry_logins_are_sent_as_credentials() -> None:
    known = RegistryLogin(url="registry.example", username="ada", password="p")
    assert build_job_payload(ASSIGNMENT.replace(registry_logins=(known,)), OFFER)["credentials"] == [
        {"type": "registry", "url": "registry.example", "username": "ada", "password": "p"}
    ]


def test_a_service_has_its_own_variables() -> None:
    database = PlannedImage(name="postgres", variables=(PlannedVariable(key="POSTGRES_DB", value="shop"),))
    (service,) = build_job_payload(ASSIGNMENT.replace(services=(database,)), OFFER)["services"]
    (variable,) = service["variables"]
    assert (variable["key"], variable["value"], variable["file"]) == ("POSTGRES_DB", "shop", False)


def test_the_commit_before_a_push_is_sent_as_before_sha() -> None:
    assert build_job_payload(ASSIGNMENT.replace(before_sha="b" * 40), OFFER)["git_info"]["before_sha"] == "b" * 40
    assert build_job_payload(ASSIGNMENT, OFFER)["git_info"]["before_sha"] == "0" * 40


@pytest.mark.parametrize("protected", [True, False])
def test_the_job_object_says_whether_the_branch_is_protected(protected: bool) -> None:
    job = build_job_payload(ASSIGNMENT.replace(protected=protected), OFFER)
    assert job["git_info"]["protected"] is protected
