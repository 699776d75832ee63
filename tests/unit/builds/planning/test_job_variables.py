"""The variables that a runner receives with a job."""

from datetime import UTC, datetime

import pytest

from contracts.builds import (
    Assignment,
    BuildRow,
    JobRow,
    JobVariable,
    LaunchedProject,
    LaunchVariable,
    PlannedJob,
    PlannedVariable,
    RunnerDescription,
)
from services.builds.dispatch.runner_payload import with_pipeline_config

PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
BUILD = BuildRow(id=17, local_id=3, project=PROJECT, source="api", before_sha="b" * 40, initiator_name="ada")
JOB = JobRow(id=42, build_id=17, name="build", stage="build", ref="refs/heads/main", sha="a" * 40, project=PROJECT)
RUNNER = RunnerDescription(runner_id=7, runner_uuid="r", name="seven", tags=("linux", "gpu"))
PASSWORD = JobVariable(key="PASSWORD", value="hush", masked=True)
ASSIGNMENT = Assignment(
    job_id=42,
    job_uuid="j",
    build_id=17,
    attempt=1,
    token="job-token",
    name="build",
    stage="build",
    ref="refs/heads/main",
    sha="a" * 40,
    project=PROJECT,
    script=(),
    variables=(),
    image=None,
    timeout_seconds=60,
    queued_at=datetime(2026, 3, 2, tzinfo=UTC),
)


def variables(job: JobRow = JOB, *secrets: JobVariable, build: BuildRow = BUILD) -> dict[str, JobVariable]:
    assignment = ASSIGNMENT.replace(variables=secrets)
    complete = with_pipeline_config(assignment, build, job, RUNNER, "nonce", "http://ci.example")
    return {variable.key: variable for variable in complete.variables}


def test_spec_file_jobs_have_the_same_variables_as_pipeline_jobs() -> None:
    variables_by_key = {key: variable.value for key, variable in variables().items()}
    pipelines = variables(JOB.replace(planned=PlannedJob(job_id=42, job_uuid="j", name="build", commands=("x",))))
    assert variables_by_key.keys() == pipelines.keys()
    assert variables_by_key["CI_PIPELINE_SOURCE"] == "api"
    assert variables_by_key["CI_COMMIT_BEFORE_SHA"] == "b" * 40
    assert (
        variables_by_key["CI_RUNNER_ID"],
        variables_by_key["CI_RUNNER_DESCRIPTION"],
        variables_by_key["CI_RUNNER_TAGS"],
    ) == (
        "7",
        "seven",
        '["linux", "gpu"]',
    )
    assert variables_by_key["CI_JOB_TOKEN"] == "job-token"


def test_variables_that_contain_a_secret_are_masked_and_common_words_are_not() -> None:
    address = PlannedVariable(key="ADDRESS", value="https://ada:$PASSWORD@host")
    job = JOB.replace(planned=PlannedJob(job_id=42, job_uuid="j", name="build", variables=(address,)))
    variables_by_key = variables(job, PASSWORD, JobVariable(key="FLAG", value="true", masked=True))
    assert (variables_by_key["ADDRESS"].value, variables_by_key["ADDRESS"].masked) == ("https://ada:hush@host", True)
    assert (variables_by_key["CI"].value, variables_by_key["CI"].masked) == ("true", False)


@pytest.mark.parametrize("name", ["CI_COMMIT_SHA", "CI_JOB_TOKEN"])
def test_a_secret_overrides_the_variable_of_its_name(name: str) -> None:
    assert variables(JOB, PASSWORD.replace(key=name))[name].value == "hush"


def test_only_variables_known_to_the_runner_are_left_unexpanded() -> None:
    cache = PlannedVariable(key="PIP_CACHE_DIR", value="$CI_PROJECT_DIR/.cache/$CI_COMMIT_REF_NAME")
    deeper = PlannedVariable(key="DEEPER", value="${PIP_CACHE_DIR}/$PASSWORD/$UNKNOWN")
    literal = PlannedVariable(key="LITERAL", value="$CI_PROJECT_DIR", expand=False)
    job = JOB.replace(
        planned=PlannedJob(job_id=42, job_uuid="j", name="build", variables=(cache, deeper, literal)),
    )
    variables_by_key = variables(job, PASSWORD.replace(value="a$b"))
    assert (variables_by_key["PIP_CACHE_DIR"].value, variables_by_key["PIP_CACHE_DIR"].raw) == (
        "${CI_PROJECT_DIR}/.cache/main",
        False,
    )
    assert (variables_by_key["DEEPER"].value, variables_by_key["DEEPER"].raw) == (
        "${CI_PROJECT_DIR}/.cache/main/a$$b/$$UNKNOWN",
        False,
    )
    assert (variables_by_key["LITERAL"].value, variables_by_key["LITERAL"].raw) == ("$CI_PROJECT_DIR", True)
    assert "CI_PROJECT_DIR" not in variables_by_key


def test_variables_in_the_image_name_are_expanded_in_ci_job_image() -> None:
    tag = PlannedVariable(key="VERSION", value="3.12")
    planned = PlannedJob(job_id=42, job_uuid="j", name="build", image="python:$VERSION", variables=(tag,))
    assert variables(JOB.replace(planned=planned, image=planned.image))["CI_JOB_IMAGE"].value == "python:3.12"


def test_variables_of_the_launch_override_those_of_the_file_but_no_secret() -> None:
    given = tuple(LaunchVariable(name=name, value="$CI_JOB_NAME") for name in ("TARGET", "EXTRA", "PASSWORD"))
    declared = (PlannedVariable(key="TARGET", value="file"), PlannedVariable(key="URL", value="http://$TARGET"))
    job = JOB.replace(planned=PlannedJob(job_id=42, job_uuid="j", name="build", variables=declared))
    build = BUILD.replace(variables=given)
    values = variables(job, PASSWORD, build=build)
    assert {name: values[name].value for name in ("TARGET", "EXTRA", "URL", "PASSWORD")} == {
        "TARGET": "build",
        "EXTRA": "build",
        "URL": "http://build",
        "PASSWORD": "hush",
    }
    assert (values["TARGET"].masked, values["TARGET"].raw) == (False, True)
    # a job of Free Commit's format gets the value as it was given
    assert variables(JOB, build=build)["TARGET"].value == "$CI_JOB_NAME"


def test_a_launch_variable_that_refers_to_a_secret_is_masked() -> None:
    build = BUILD.replace(variables=(LaunchVariable(name="URL", value="https://ada:$PASSWORD@host"),))
    job = JOB.replace(planned=PlannedJob(job_id=42, job_uuid="j", name="build"))
    url = variables(job, PASSWORD, build=build)["URL"]
    assert (url.value, url.masked) == ("https://ada:hush@host", True)
