"""Rules and cache keys that depend on the files of the commit."""

import time

import pytest

from services.builds.pipeline.rules.repository_tree import RepositoryTree, matches_any
from tests.unit.builds.planning.samples import compile_error, compile_job, compile_jobs, compile_sample

TREE = RepositoryTree(
    {"Makefile": "a1", "src/main.c": "b2", "docs/deep/page.md": "c3", ".hidden/x": "d4"}, frozenset({"src/main.c"})
)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("Makefile", "Makefile"),
        ("./Makefile", "Makefile"),
        ("*.c", "main.c"),
        ("**/*.md", "docs/deep/page.md"),
        ("**/*.md", "page.md"),
        ("docs/**/*", "docs/page.md"),
        ("docs/**", "docs/deep/page.md"),
        ("src/*.{c,h}", "src/main.h"),
        ("file[0-9].?", "file7.x"),
        ("**/*", ".hidden/x"),
        ("a+b(c)/ä", "a+b(c)/ä"),
    ],
)
def test_a_glob_matches_the_path(glob: str, path: str) -> None:
    assert matches_any([glob], [path])


@pytest.mark.parametrize(("glob", "path"), [("*.c", "src/main.c"), ("docs", "docs/page.md"), ("[!a]", "a"), ("", "a")])
def test_a_glob_does_not_match_the_path(glob: str, path: str) -> None:
    assert not matches_any([glob], [path])


def test_glob_matching_takes_linear_time() -> None:
    began = time.monotonic()
    assert not matches_any(["**/" * 100 + "*a" * 200], ["a/" * 2000 + "b"])
    assert time.monotonic() - began < 5


RULES = """
    variables: {PLACE: src}
    always: {script: x}
    build: {script: x, rules: [%s]}
    """


@pytest.mark.parametrize(
    ("rule", "is_included"),
    [
        ("{exists: [Makefile]}", True),
        ("{exists: [$PLACE/*.c]}", True),
        ("{exists: [nowhere, '**/*.md']}", True),
        ("{exists: [nowhere]}", False),
        ("{exists: {paths: [Makefile]}}", True),
        ("{changes: [src/**/*]}", True),
        ("{changes: {paths: [Makefile]}}", False),
        ("{changes: [src/*], exists: [nowhere]}", False),
        ("{if: '$CI', changes: [src/*], exists: [Makefile]}", True),
    ],
)
def test_rules_check_existing_and_changed_files(rule: str, is_included: bool) -> None:
    pipeline = compile_sample(RULES % rule, tree=TREE)
    assert ("build" in {job.name for job in pipeline.jobs}) is is_included
    assert pipeline.warnings == ()


@pytest.mark.parametrize(
    ("keyword", "is_included"),
    [("only: {changes: [src/*]}", True), ("only: {changes: [Makefile]}", False), ("except: {changes: [src/*]}", False)],
)
def test_only_and_except_check_changed_files(keyword: str, is_included: bool) -> None:
    source = f"always: {{script: x}}\nbuild:\n  script: x\n  {keyword}\n"
    assert ("build" in compile_jobs(source, tree=TREE)) is is_included


def test_changes_match_with_a_warning_if_the_previous_commit_is_unknown() -> None:
    pipeline = compile_sample(
        "build:\n  script: x\n  rules:\n    - changes: [src/*]\n", tree=RepositoryTree(TREE.blobs)
    )
    assert [job.name for job in pipeline.jobs] == ["build"]
    assert pipeline.warnings == (
        "line 4, column 7: `changes` in a rule of the job `build` counts as fulfilled: the commit's files are unknown",
    )


def test_compare_to_gives_a_warning() -> None:
    pipeline = compile_sample(
        "build: {script: x, rules: [{changes: {paths: ['src/*'], compare_to: main}}]}\n", tree=TREE
    )
    assert "`compare_to` of `changes` in a rule of the job `build` is not supported" in pipeline.warnings[0]


def test_too_many_paths_are_rejected_with_their_position() -> None:
    paths = ", ".join(f"p{number}" for number in range(51))
    source = f"build:\n  script: x\n  rules:\n    - exists: [{paths}]\n"
    assert (
        compile_error(source, tree=TREE)
        == "line 4, column 15: `exists` in a rule of the job `build`: more than 50 paths"
    )


def test_a_cache_key_follows_the_content_of_files() -> None:
    source = "build: {script: x, cache: {key: {files: [Makefile, nowhere], prefix: $CI_JOB_NAME}, paths: [deps]}}\n"
    (same,), (again,) = compile_job(source, tree=TREE).caches, compile_job(source, tree=TREE).caches
    (other,) = compile_job(source, tree=RepositoryTree({"Makefile": "other"})).caches
    assert same.key == again.key != other.key
    assert same.key.startswith("$CI_JOB_NAME-")


def test_a_cache_key_of_missing_files_is_the_default_key() -> None:
    (cache,) = compile_job("build: {script: x, cache: {key: {files: [nowhere]}, paths: [deps]}}\n", tree=TREE).caches
    assert cache.key == "default"
