"""Predefined variables of jobs, and expansion of $NAMES in values."""

import time

from contracts.builds import PlannedVariable
from contracts.projects import PullRequest
from services.builds.pipeline.variables import build_variables, expand, expand_variables, to_slug
from tests.unit.builds.planning.samples import compile_error, compile_jobs, make_context


def meanings(**values: str) -> dict[str, str]:
    return expand_variables({"CI": "true"}, [PlannedVariable(key=key, value=value) for key, value in values.items()])


def test_a_variable_name_in_a_value_is_expanded() -> None:
    values = meanings(A="${B}-$CI", B="b$C", C="c")
    assert (values["A"], values["B"]) == ("bc-true", "bc")


def test_unknown_names_and_escaped_dollars_are_kept() -> None:
    assert meanings(A="$NO ${NO} $$B $1", B="b")["A"] == "$NO ${NO} $B $1"


def test_a_self_referencing_value_is_kept_literally() -> None:
    values = meanings(A="$B", B="$A", PATH="$PATH:/x")
    assert (values["A"], values["PATH"]) == ("$A", "$PATH:/x")


def test_a_value_with_expand_false_is_kept_literally() -> None:
    values = expand_variables({"CI": "true"}, [PlannedVariable(key="A", value="$CI", expand=False)])
    assert values["A"] == "$CI"


def test_expansion_of_growing_values_is_limited() -> None:
    began = time.monotonic()
    values = meanings(**{f"A{n}": f"$A{n + 1}" * 1000 for n in range(9)}, A9="")
    assert len(values["A0"]) < 10 * 1024 * 1024
    assert time.monotonic() - began < 10


def test_jobs_have_global_and_their_own_variables() -> None:
    source = """
        variables:
          A: file
          B: {value: file, description: what it is for}
          C: {value: $A, expand: false}
        one: {script: x, variables: {A: own}}
        two: {script: x, inherit: {variables: [B]}}
        three: {script: x, inherit: {variables: false}}
        """
    variables_by_job = {
        name: [(variable.key, variable.value, variable.expand) for variable in job.variables]
        for name, job in compile_jobs(source).items()
    }
    assert variables_by_job == {
        "one": [("A", "own", True), ("B", "file", True), ("C", "$A", False)],
        "two": [("B", "file", True)],
        "three": [],
    }


def test_a_variable_with_an_unknown_keyword_is_rejected() -> None:
    assert compile_error("variables:\n  A: {vaule: b}\nbuild: {script: x}\n") == (
        "line 2, column 7: the variable `A` has the unknown keyword `vaule`"
    )


def test_every_job_has_project_commit_pipeline_and_server_variables() -> None:
    values = build_variables(make_context(message="Fix it\n\nAll of it.\n", initiator="ivan"))
    expected = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER_URL": "http://ci.example.org:8080",
        "CI_SERVER_HOST": "ci.example.org",
        "CI_SERVER_PORT": "8080",
        "CI_SERVER_PROTOCOL": "http",
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_PATH": "acme/shop",
        "CI_PROJECT_PATH_SLUG": "acme-shop",
        "CI_COMMIT_SHORT_SHA": "aaaaaaaa",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_MESSAGE": "Fix it\n\nAll of it.\n",
        "CI_COMMIT_TITLE": "Fix it",
        "CI_COMMIT_DESCRIPTION": "All of it.",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PIPELINE_ID": "7",
        "CI_PIPELINE_IID": "3",
        "CI_PIPELINE_SOURCE": "web",
        "GITLAB_USER_LOGIN": "ivan",
    }
    assert expected.items() <= values.items()


def test_a_pull_request_has_variables_of_a_merge_request_and_no_branch() -> None:
    request = PullRequest(number=7, title="A $CI title", source_branch="main", target_branch="next", is_fork=True)
    values = build_variables(make_context(ref="refs/pull/7/head", source="merge_request_event", pull_request=request))
    assert {name: value for name, value in values.items() if name.startswith("CI_MERGE_REQUEST")} == {
        "CI_MERGE_REQUEST_ID": "7",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_REF_PATH": "refs/pull/7/head",
        "CI_MERGE_REQUEST_TITLE": "A $CI title",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "next",
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
    }
    assert (values["CI_COMMIT_REF_NAME"], values["CI_COMMIT_REF_PROTECTED"]) == ("main", "false")
    assert not {"CI_COMMIT_BRANCH", "CI_COMMIT_TAG"} & values.keys()


def test_a_tag_build_has_no_branch_variable() -> None:
    values = build_variables(make_context(ref="refs/tags/v1"))
    assert values["CI_COMMIT_TAG"] == "v1"
    assert "CI_COMMIT_BRANCH" not in values


def test_a_slug_fits_into_a_host_name() -> None:
    assert to_slug("Feature/ABC_1-" + "x" * 80) == "feature-abc-1-" + "x" * 49


def test_known_variable_names_are_expanded_in_text() -> None:
    assert expand("registry/$CI_PROJECT_NAME:${TAG}", {"CI_PROJECT_NAME": "shop"}) == "registry/shop:${TAG}"
