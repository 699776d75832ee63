"""Conditions of jobs: rules, only, except and workflow."""

from typing import Any

import pytest

from contracts.projects import PullRequest
from tests.unit.builds.planning.samples import compile_error, compile_job, compile_jobs, compile_sample

TAG = {"ref": "refs/tags/v1.0"}
BRANCH = {"ref": "refs/heads/feature/x"}
REQUEST = {
    "ref": "refs/pull/7/head",
    "source": "merge_request_event",
    "pull_request": PullRequest(number=7, title="t", source_branch="main", target_branch="main", is_fork=True),
}


def job_names(keyword: str, **known: Any) -> list[str]:
    return list(compile_jobs(f"{{always: {{script: x}}, it: {{script: x, {keyword}}}}}", **known))


@pytest.mark.parametrize(
    ("keyword", "known"),
    [
        ("only: [main]", {}),
        ("only: [branches]", {}),
        ("only: [tags]", TAG),
        ("only: [/^feature/]", BRANCH),
        ("only: [/^FEATURE/i]", BRANCH),
        ("only: [/^main$/@acme/shop]", {}),
        ("only: [web]", {}),
        ("only: [pushes]", {"source": "push"}),
        ("only: [schedules]", {"source": "schedule"}),
        ("only: {refs: [main], variables: ['$CI_COMMIT_BRANCH == \"main\"']}", {}),
        ("except: [tags]", {}),
        ("except: {refs: [tags], variables: [$NO]}", {}),
        ("only: [main], except: [tags]", {}),
        ("rules: [{if: '$CI_COMMIT_TAG'}]", TAG),
        ("rules: [{if: '$NO'}, {if: '$CI'}]", {}),
        ("rules: [{when: always}]", {}),
        ("rules: [{if: '$CI_PIPELINE_SOURCE == \"web\"'}]", {}),
        ("rules: [{if: '$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'}]", {}),
        ("variables: {A: 'x$CI'}, rules: [{if: '$A == \"xtrue\"'}]", {}),
    ],
)
def test_the_condition_includes_the_job(keyword: str, known: dict[str, str]) -> None:
    assert "it" in job_names(keyword, **known)


@pytest.mark.parametrize(
    ("keyword", "known"),
    [
        ("only: [main]", BRANCH),
        ("only: [/^main$/@other/shop]", {}),
        ("only: [branches]", TAG),
        ("only: [schedules, merge_requests]", {}),
        ("except: [schedules]", {"source": "schedule"}),
        ("only: {refs: [main], variables: [$NO]}", {}),
        ("except: [main]", {}),
        ("except: {refs: [tags], variables: [$CI]}", {}),
        ("rules: []", {}),
        ("rules: [{if: '$CI_COMMIT_TAG'}]", {}),
        ("rules: [{if: '$CI', when: never}, {when: always}]", {}),
        ("when: never", {}),
    ],
)
def test_the_condition_excludes_the_job(keyword: str, known: dict[str, str]) -> None:
    assert "it" not in job_names(keyword, **known)


@pytest.mark.parametrize(
    ("keyword", "is_included"),
    [
        ("only: [merge_requests]", True),
        ("rules: [{if: '$CI_PIPELINE_SOURCE == \"merge_request_event\"'}]", True),
        ("rules: [{if: $CI_MERGE_REQUEST_IID}]", True),
        ("when: on_success", False),
        ("except: [tags]", False),
        ("only: [main]", False),
        ("only: [/main/]", False),
        ("only: [branches]", False),
        ("only: [pushes]", False),
        ("rules: [{if: $CI_COMMIT_BRANCH}]", False),
    ],
)
def test_jobs_of_a_pull_request_must_be_meant_for_it(keyword: str, *, is_included: bool) -> None:
    jobs = compile_jobs(f"{{always: {{script: x, only: [merge_requests]}}, it: {{script: x, {keyword}}}}}", **REQUEST)
    assert ("it" in jobs) is is_included


def test_with_rules_of_the_workflow_jobs_without_conditions_are_for_pull_requests_too() -> None:
    workflow = "workflow: {rules: [{if: $CI_MERGE_REQUEST_IID}]}"
    assert list(compile_jobs(f"{{{workflow}, it: {{script: x}}}}", **REQUEST)) == ["it"]


def test_the_first_matching_rule_changes_the_job() -> None:
    job = compile_job(
        """
        build:
          script: x
          variables: {A: own, B: own}
          rules:
            - {if: $CI_COMMIT_TAG, when: never}
            - {if: $CI, when: always, allow_failure: true, variables: {B: of the rule}}
            - {when: manual}
        """
    )
    assert (job.when, job.allow_failure) == ("always", True)
    assert [(variable.key, variable.value) for variable in job.variables] == [("A", "own"), ("B", "of the rule")]


def test_rules_may_come_by_reference() -> None:
    source = """
        .rules: {rules: [{if: $CI_COMMIT_TAG}]}
        a: {script: x, rules: [!reference [.rules, rules], {if: $NO}]}
        b: {script: x}
        """
    assert list(compile_jobs(source, **TAG)) == ["a", "b"]
    assert list(compile_jobs(source)) == ["b"]


def test_changes_and_exists_match_with_a_warning_without_a_file_list() -> None:
    pipeline = compile_sample("build:\n  script: x\n  rules:\n    - changes: [a]\n      exists: [b]\n")
    assert pipeline.warnings == (
        "line 4, column 7: `changes` in a rule of the job `build` counts as fulfilled: the commit's files are unknown",
        "line 5, column 7: `exists` in a rule of the job `build` counts as fulfilled: the commit's files are unknown",
    )


def test_an_invalid_rule_expression_is_reported_with_its_position() -> None:
    assert compile_error("build:\n  script: x\n  rules:\n    - if: $A =\n") == (
        "line 4, column 11: `if` of the job `build`: `=` at character 4 is not understood"
    )


def test_an_invalid_only_pattern_is_reported_with_its_position() -> None:
    assert compile_error("build:\n  script: x\n  only: [/(/]\n").startswith(
        "line 3, column 10: `only` of the job `build`: "
    )


def test_workflow_rules_set_variables_for_all_jobs() -> None:
    job = compile_job("{workflow: {rules: [{if: $CI, variables: {A: b}}]}, build: {script: x}}")
    assert [(variable.key, variable.value) for variable in job.variables] == [("A", "b")]


@pytest.mark.parametrize("rules", ["[{if: $NO}]", "[{when: never}]"])
def test_workflow_rules_may_allow_no_pipeline(rules: str) -> None:
    assert "the rules of `workflow` allow no pipeline for main" in compile_error(
        f"{{workflow: {{rules: {rules}}}, build: {{script: x}}}}"
    )


def test_secrets_decide_conditions_but_appear_in_no_plan_or_error() -> None:
    source = """
        variables: {WHERE: nowhere, GOT: "<$WHERE>"}
        a: {script: x, tags: ["$WHERE"], rules: [{if: $WHERE == "hidden-place"}]}
        b: {script: x, only: {variables: [$WHERE == "nowhere"]}}
        """
    jobs = compile_jobs(source, secrets={"WHERE": "hidden-place"})
    assert list(jobs) == ["a"]
    assert "hidden-place" not in jobs["a"].model_dump_json()
    error = compile_error("a: {script: x, rules: [{if: $CI =~ $WHERE}]}", secrets={"WHERE": "/hidden-place(/"})
    assert "hidden-place" not in error
    assert "a secret in it is not a valid pattern" in error
