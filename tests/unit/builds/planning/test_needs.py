"""`needs` and `dependencies` of jobs, and the artifacts they fetch."""

import pytest

from tests.unit.builds.planning.samples import compile_error, compile_jobs


@pytest.mark.parametrize("needs", ["a", "[a]", "[{job: a}]", "{job: a}", "[{job: a, artifacts: false}]"])
def test_a_need_is_a_name_or_a_mapping(needs: str) -> None:
    assert compile_jobs(f"{{a: {{script: x}}, b: {{script: x, needs: {needs}}}}}")["b"].needs == ("a",)


def test_an_empty_needs_list_differs_from_a_missing_one() -> None:
    jobs = compile_jobs("{a: {script: x, needs: []}, b: {script: x}}")
    assert (jobs["a"].needs, jobs["b"].needs) == ((), None)


def test_needing_a_parallel_job_needs_all_of_its_instances() -> None:
    source = "{a: {script: x, parallel: {matrix: [{A: [1, 2]}]}}, b: {script: x, needs: NEEDS}}"
    assert compile_jobs(source.replace("NEEDS", "[a]"))["b"].needs == ("a: [1]", "a: [2]")
    single = "[{job: a, parallel: {matrix: [{A: 2}]}}]"
    assert compile_jobs(source.replace("NEEDS", single))["b"].needs == ("a: [2]",)
    assert compile_jobs(source.replace("NEEDS", '["a: [1]"]'))["b"].needs == ("a: [1]",)


def test_an_optional_need_may_be_left_out() -> None:
    out = "{a: {script: x, when: never}, b: {script: x, needs: [{job: a, optional: true}]}}"
    assert compile_jobs(out)["b"].needs == ()


@pytest.mark.parametrize("keyword", ["needs", "dependencies"])
def test_a_need_for_an_unknown_job_is_reported_with_its_position(keyword: str) -> None:
    assert compile_error(f"b:\n  script: x\n  {keyword}: [a]\n").startswith(
        f"line 3, column {len(keyword) + 6}: the job `b` "
    )


def test_a_rule_may_replace_the_needs() -> None:
    jobs = compile_jobs("{a: {script: x}, b: {script: x, needs: [a], rules: [{if: $CI, needs: []}]}}")
    assert jobs["b"].needs == ()


@pytest.mark.parametrize(
    "source",
    [
        "{a: {script: x, needs: [b]}, b: {script: x, needs: [a]}}",
        "{a: {script: x, needs: [a]}}",
        "{a: {script: x, stage: build, needs: [b]}, b: {script: x, stage: test}}",
    ],
)
def test_circular_needs_are_rejected(source: str) -> None:
    assert "itself" in (words := compile_error(source)) or "form a cycle" in words


def test_artifacts_are_fetched_from_all_earlier_stages_by_default() -> None:
    source = """
        default: {artifacts: {paths: [out]}}
        a: {stage: build, script: x}
        b: {stage: build, script: x}
        none: {stage: build, script: x, artifacts: {}}
        all: {script: x}
        needing: {script: x, needs: [a, none, {job: b, artifacts: false}]}
        depending: {script: x, dependencies: [b]}
        lonely: {script: x, dependencies: []}
        """
    jobs = compile_jobs(source)
    assert [jobs[name].fetches for name in ("all", "needing", "depending", "lonely")] == [
        ("a", "b"),
        ("a",),
        ("b",),
        (),
    ]
