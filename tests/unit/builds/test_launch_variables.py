"""Variables of a launch: the names and values that are accepted, and what they override in a pipeline."""

from typing import Any

import pytest

from contracts.builds import LaunchVariable, PlannedJob
from contracts.errors import RequestRejected
from libs.launches.variable_rules import (
    MAX_NAME_LENGTH,
    MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES,
    MAX_VARIABLES,
    check_variables,
)
from services.builds.pipeline.document.includes import IncludesRequired
from services.builds.planning.launch_variables import is_protected
from tests.unit.builds.planning.samples import compile_job, compile_jobs, compile_sample


def given(**values: str) -> tuple[LaunchVariable, ...]:
    return tuple(LaunchVariable(name=name, value=value) for name, value in values.items())


def find_error(*variables: LaunchVariable) -> tuple[str, str]:
    with pytest.raises(RequestRejected) as rejected:
        check_variables(variables)
    return rejected.value.code, rejected.value.failure.detail


@pytest.mark.parametrize(
    "name",
    [
        *("CI", "CI_X", "GITLAB_CI", "HEADRACE_X", "PATH", "HOME", "LD_PRELOAD", "BASH_ENV", "ENV", "GIT_SSH_COMMAND"),
        *("SSH_AUTH_SOCK", "IFS", "SHELLOPTS", "PS4", "PROMPT_COMMAND", "TMPDIR"),
    ],
)
def test_reserved_names_are_refused(name: str) -> None:
    code, detail = find_error(*given(FINE="1"), LaunchVariable(name=name, value="x"))
    assert code == "BUILD_VARIABLES_RESERVED"
    assert f"`{name}`" in detail


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A" * (MAX_NAME_LENGTH + 1)])
def test_names_that_are_not_those_of_variables_are_refused(name: str) -> None:
    assert find_error(LaunchVariable(name=name, value="x"))[0] == "BUILD_VARIABLES_INVALID"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (given(A="x\0y"), "`A` contains the character NUL"),
        (given(A="x" * (MAX_VALUE_BYTES + 1)), "`A` has 4097 bytes"),
        (given(A="ä" * (MAX_VALUE_BYTES // 2 + 1)), "`A` has 4098 bytes"),
        (given(A="1") + given(A="2"), "`A` is set twice"),
        (given(**{f"A{number}": "" for number in range(MAX_VARIABLES + 1)}), "at most 50 variables"),
        (given(**{f"A{number}": "x" * MAX_VALUE_BYTES for number in range(8)}), f"at most {MAX_TOTAL_BYTES}"),
    ],
)
def test_values_and_numbers_are_bounded(variables: tuple[LaunchVariable, ...], problem: str) -> None:
    code, detail = find_error(*variables)
    assert code == "BUILD_VARIABLES_INVALID"
    assert problem in detail


def test_everything_within_the_limits_is_accepted() -> None:
    check_variables(given(**{f"a{number:03}": "x" for number in range(MAX_VARIABLES)}))
    check_variables(given(_="", CIRCLE="1", Path="two\nlines", A="x" * MAX_VALUE_BYTES))


def test_a_default_branch_without_a_name_counts_as_protected() -> None:
    assert is_protected("release/2", ("main", "release/*"))
    assert is_protected("*", ())
    assert not is_protected("topic", ("main", "release/*"))


PIPELINE = """
variables: {TARGET: file}
deploy:
  script: x
  variables: {TARGET: job}
  tags: [$TARGET]
  environment: {name: $TARGET}
  rules:
    - {if: $TARGET == "live", when: manual, variables: {TARGET: rule}}
    - {if: $TARGET == "job", when: on_success}
"""


def test_a_launch_variable_overrides_those_of_the_file_in_rules_and_tags() -> None:
    assert (compile_job(PIPELINE).when, compile_job(PIPELINE).tags) == ("on_success", ("job",))
    changed = compile_job(PIPELINE, variables=given(TARGET="live"))
    assert (changed.when, changed.tags) == ("manual", ("live",))
    assert "live" in [variable.value for variable in changed.variables if variable.key == "CI_ENVIRONMENT_SLUG"]


def test_the_plan_of_a_job_does_not_repeat_the_variables_of_the_launch() -> None:
    assert compile_job("{build: {script: x}}", variables=given(TARGET="live")).variables == ()


def test_only_and_except_and_inherit_leave_launch_variables_in_effect() -> None:
    source = """
        one: {script: x, inherit: {variables: false}, only: {variables: [$TARGET == "live"]}}
        two: {script: x, except: {variables: [$TARGET == "live"]}}
        """
    assert compile_jobs(source, variables=given(TARGET="live")).keys() == {"one"}


def test_references_in_values_are_replaced() -> None:
    source = "{build: {script: x, rules: [{if: $TARGET == 'main-1'}]}, other: {script: x}}"
    jobs = compile_jobs(source, variables=given(TARGET="$CI_COMMIT_BRANCH-$N", N="1"))
    assert jobs.keys() == {"build", "other"}


def test_workflow_rules_and_includes_use_launch_variables() -> None:
    workflow = "{workflow: {rules: [{if: $TARGET, variables: {X: y}}]}, build: {script: x}}"
    (job,) = compile_sample(workflow, variables=given(TARGET="live")).jobs
    assert isinstance(job, PlannedJob)
    with pytest.raises(IncludesRequired) as required:
        compile_sample("{include: $TARGET.yml, build: {script: x}}", variables=given(TARGET="live"))
    assert required.value.paths == {"live.yml"}


def test_a_secret_wins_over_a_launch_variable_in_rules() -> None:
    known: dict[str, Any] = {"variables": given(TOKEN="guess"), "secrets": {"TOKEN": "hush"}}
    jobs = compile_jobs("{a: {script: x, rules: [{if: $TOKEN == 'hush'}]}, b: {script: x}}", **known)
    assert jobs.keys() == {"a", "b"}
