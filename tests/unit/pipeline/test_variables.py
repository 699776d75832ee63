"""Variables every job has, and $NAMES in values."""

import time

from contracts.builds import PlannedVariable
from services.builds.pipeline.variables import build_variables, expand, slug, with_meanings
from tests.unit.pipeline.samples import fault, jobs, situation


def meanings(**values: str) -> dict[str, str]:
    return with_meanings({"CI": "true"}, [PlannedVariable(key=key, value=value) for key, value in values.items()])


def test_a_name_in_a_value_means_its_value() -> None:
    found = meanings(A="${B}-$CI", B="b$C", C="c")
    assert (found["A"], found["B"]) == ("bc-true", "bc")


def test_unknown_names_and_doubled_dollars_are_left_to_others() -> None:
    assert meanings(A="$NO ${NO} $$B $1", B="b")["A"] == "$NO ${NO} $B $1"


def test_a_value_that_means_itself_is_left_as_it_stands() -> None:
    found = meanings(A="$B", B="$A", PATH="$PATH:/x")
    assert (found["A"], found["PATH"]) == ("$A", "$PATH:/x")


def test_a_value_may_be_meant_as_it_stands() -> None:
    found = with_meanings({"CI": "true"}, [PlannedVariable(key="A", value="$CI", expand=False)])
    assert found["A"] == "$CI"


def test_values_that_grow_without_end_are_cut_short() -> None:
    began = time.monotonic()
    found = meanings(**{f"A{n}": f"$A{n + 1}" * 1000 for n in range(9)}, A9="")
    assert len(found["A0"]) < 10 * 1024 * 1024
    assert time.monotonic() - began < 10


def test_jobs_have_the_variables_of_the_file_and_their_own() -> None:
    source = """
        variables:
          A: file
          B: {value: file, description: what it is for}
          C: {value: $A, expand: false}
        one: {script: x, variables: {A: own}}
        two: {script: x, inherit: {variables: [B]}}
        three: {script: x, inherit: {variables: false}}
        """
    found = {name: [(one.key, one.value, one.expand) for one in job.variables] for name, job in jobs(source).items()}
    assert found == {
        "one": [("A", "own", True), ("B", "file", True), ("C", "$A", False)],
        "two": [("B", "file", True)],
        "three": [],
    }


def test_a_variable_with_an_unknown_keyword_is_told() -> None:
    assert fault("variables:\n  A: {vaule: b}\nbuild: {script: x}\n") == (
        "line 2, column 7: the variable `A` has the unknown keyword `vaule`"
    )


def test_every_job_knows_project_commit_pipeline_and_server() -> None:
    found = build_variables(situation(message="Fix it\n\nAll of it.\n", initiator="ivan"))
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
    assert expected.items() <= found.items()


def test_a_tag_is_no_branch() -> None:
    found = build_variables(situation(ref="refs/tags/v1"))
    assert found["CI_COMMIT_TAG"] == "v1"
    assert "CI_COMMIT_BRANCH" not in found


def test_a_slug_fits_into_a_host_name() -> None:
    assert slug("Feature/ABC_1-" + "x" * 80) == "feature-abc-1-" + "x" * 49


def test_text_is_expanded_where_the_name_is_known() -> None:
    assert expand("registry/$CI_PROJECT_NAME:${TAG}", {"CI_PROJECT_NAME": "shop"}) == "registry/shop:${TAG}"
