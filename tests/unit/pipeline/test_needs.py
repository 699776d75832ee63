"""Who waits for whom, and who gets whose artifacts."""

import pytest

from tests.unit.pipeline.samples import fault, jobs


@pytest.mark.parametrize("needs", ["a", "[a]", "[{job: a}]", "{job: a}", "[{job: a, artifacts: false}]"])
def test_a_need_is_a_name_or_a_mapping(needs: str) -> None:
    assert jobs(f"{{a: {{script: x}}, b: {{script: x, needs: {needs}}}}}")["b"].needs == ("a",)


def test_no_needs_at_all_is_something_else_than_not_saying() -> None:
    found = jobs("{a: {script: x, needs: []}, b: {script: x}}")
    assert (found["a"].needs, found["b"].needs) == ((), None)


def test_who_needs_a_job_that_is_several_needs_all_of_them() -> None:
    source = "{a: {script: x, parallel: {matrix: [{A: [1, 2]}]}}, b: {script: x, needs: NEEDS}}"
    assert jobs(source.replace("NEEDS", "[a]"))["b"].needs == ("a: [1]", "a: [2]")
    one = "[{job: a, parallel: {matrix: [{A: 2}]}}]"
    assert jobs(source.replace("NEEDS", one))["b"].needs == ("a: [2]",)
    assert jobs(source.replace("NEEDS", '["a: [1]"]'))["b"].needs == ("a: [1]",)


def test_an_optional_need_may_be_left_out() -> None:
    out = "{a: {script: x, when: never}, b: {script: x, needs: [{job: a, optional: true}]}}"
    assert jobs(out)["b"].needs == ()


@pytest.mark.parametrize("keyword", ["needs", "dependencies"])
def test_naming_a_job_that_is_not_there_is_told_with_its_place(keyword: str) -> None:
    assert fault(f"b:\n  script: x\n  {keyword}: [a]\n").startswith(f"line 3, column {len(keyword) + 6}: the job `b` ")


def test_a_rule_may_bring_other_needs() -> None:
    found = jobs("{a: {script: x}, b: {script: x, needs: [a], rules: [{if: $CI, needs: []}]}}")
    assert found["b"].needs == ()


@pytest.mark.parametrize(
    "source",
    [
        "{a: {script: x, needs: [b]}, b: {script: x, needs: [a]}}",
        "{a: {script: x, needs: [a]}}",
        "{a: {script: x, stage: build, needs: [b]}, b: {script: x, stage: test}}",
    ],
)
def test_needs_in_a_circle_are_refused(source: str) -> None:
    assert "itself" in (words := fault(source)) or "in a circle" in words


def test_artifacts_come_from_all_earlier_stages_unless_said_otherwise() -> None:
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
    found = jobs(source)
    assert [found[name].fetches for name in ("all", "needing", "depending", "lonely")] == [
        ("a", "b"),
        ("a",),
        ("b",),
        (),
    ]
