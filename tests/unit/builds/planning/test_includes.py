"""`include` of files of the same commit."""

import pytest

from services.builds.pipeline.document.includes import IncludesRequired
from services.builds.pipeline.rules.repository_tree import RepositoryTree
from tests.unit.builds.planning.samples import compile_error, compile_jobs, compile_sample

BASE = b"""
stages: [compile, check]
default: {image: debian, tags: [linux]}
variables: {LEVEL: base, ONLY: base}
.job: {stage: compile, variables: {A: base}}
build: {extends: .job, script: make}
"""


def test_the_including_file_overrides_included_files() -> None:
    source = """
        include: /ci/base.yml
        variables: {LEVEL: own}
        build: {variables: {A: own}}
        test: {extends: .job, stage: check, script: !reference [build, script]}
        """
    jobs = compile_jobs(source, files={"ci/base.yml": BASE})
    assert [(job.name, job.stage, job.image, job.commands) for job in jobs.values()] == [
        ("build", "compile", "debian", ("make",)),
        ("test", "check", "debian", ("make",)),
    ]
    assert {variable.key: variable.value for variable in jobs["build"].variables} == {
        "LEVEL": "own",
        "ONLY": "base",
        "A": "own",
    }


def test_includes_are_nested_and_the_later_file_wins() -> None:
    files = {
        "one.yml": b"include: [{local: deep/er.yaml}]\nbuild: {script: one, tags: [one]}",
        "two.yml": b"build: {script: two}",
        "deep/er.yaml": b"build: {script: deeper, image: deeper}",
    }
    job = compile_jobs("include: [one.yml, {local: ./two.yml}]", files=files)["build"]
    assert (job.commands, job.tags, job.image) == (("two",), ("one",), "deeper")


def test_missing_include_files_are_requested_together() -> None:
    source = "{variables: {WHERE: ci}, include: [{local: $WHERE/a.yml}, /b.yml, c.yml], build: {script: x}}"
    with pytest.raises(IncludesRequired) as wanted:
        compile_sample(source, files={"c.yml": b"{x: {script: x}}"})
    assert wanted.value.paths == {"ci/a.yml", "b.yml"}


def test_an_include_pattern_selects_all_matching_files() -> None:
    tree = RepositoryTree({"ci/a.yml": "1", "ci/deep/b.yml": "2", "ci/c.txt": "3"})
    files = {"ci/a.yml": b"{a: {script: x}}", "ci/deep/b.yml": b"{b: {script: x}}"}
    assert list(compile_jobs("include: 'ci/*.yml'", tree=tree, files=files)) == ["a"]
    assert list(compile_jobs("include: 'ci/**/*.yml'", tree=tree, files=files)) == ["a", "b"]


@pytest.mark.parametrize(
    ("rule", "is_included"),
    [("{if: $CI_COMMIT_BRANCH == 'main'}", True), ("{if: $NOTHING}", False), ("{when: never}", False)],
)
def test_rules_decide_whether_a_file_is_included(rule: str, is_included: bool) -> None:
    source = f"{{include: {{local: a.yml, rules: [{rule}]}}, build: {{script: x}}}}"
    assert ("more" in compile_jobs(source, files={"a.yml": b"{more: {script: x}}"})) is is_included


@pytest.mark.parametrize(
    ("include", "warning"),
    [
        ("https://example.org/a.yml", "line 1, column 11: `include` of another server's file is not supported"),
        ("{remote: https://example.org/a.yml}", "line 1, column 12: `include: remote` is not supported"),
        ("{template: Go.gitlab-ci.yml}", "line 1, column 12: `include: template` is not supported"),
        ("{project: a/b, file: c.yml}", "line 1, column 12: `include: project` is not supported"),
        ("{component: a/b@1}", "line 1, column 12: `include: component` is not supported"),
        ("{local: a.yml, inputs: {x: y}}", "line 1, column 26: `inputs` of an `include` is not supported"),
    ],
)
def test_unsupported_includes_give_a_warning(include: str, warning: str) -> None:
    pipeline = compile_sample(f"{{include: {include}, build: {{script: x}}}}", files={"a.yml": b"{more: {script: x}}"})
    assert pipeline.warnings == (f"{warning} and has no effect",)


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("gone.yml", "line 1, column 11: `include` names the file gone.yml, which the commit does not have"),
        ("a.txt", "line 1, column 11: `include` takes files whose names end with .yml or .yaml, not a.txt"),
        ("{rules: [{when: always}]}", "line 1, column 11: `include` names no `local` file"),
        ("'*.yml'", "line 1, column 11: `include` cannot match patterns: the commit's files are unknown"),
        ("circle.yml", "circle.yml: line 1, column 11: `include` forms a cycle: circle.yml"),
        ("wrong.yml", "wrong.yml: line 2, column 4: the job `b` has no script"),
        ("broken.yml", "broken.yml: line 2, column 1: the file broken.yml is not YAML"),
        ("list.yml", "list.yml: line 1, column 1: the file list.yml must be a mapping of keywords and jobs"),
        ("many.yml", "many.yml: line 1, column 1101: more than 100 files are included"),
    ],
)
def test_errors_in_included_files_name_the_file(include: str, words: str) -> None:
    files = {
        "gone.yml": None,
        "circle.yml": b"{include: circle.yml}",
        "wrong.yml": b"a: {script: x}\nb: {tags: []}",
        "broken.yml": b"a: [\n",
        "list.yml": b"[a]",
        "many.yml": b"{include: [%s]}" % b", ".join([b"small.yml"] * 200),
        "small.yml": b"{x: {script: x}}",
    }
    assert compile_error(f"{{include: {include}, build: {{script: x}}}}", files=files).startswith(words)
