"""What rules and keys of caches may ask of the files of the commit."""

import time

import pytest

from services.builds.pipeline.tree import Tree, any_matches
from tests.unit.pipeline.samples import fault, job, jobs, pipeline

TREE = Tree(
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
def test_a_path_is_matched(glob: str, path: str) -> None:
    assert any_matches([glob], [path])


@pytest.mark.parametrize(("glob", "path"), [("*.c", "src/main.c"), ("docs", "docs/page.md"), ("[!a]", "a"), ("", "a")])
def test_a_path_is_not_matched(glob: str, path: str) -> None:
    assert not any_matches([glob], [path])


def test_no_pattern_takes_long() -> None:
    began = time.monotonic()
    assert not any_matches(["**/" * 100 + "*a" * 200], ["a/" * 2000 + "b"])
    assert time.monotonic() - began < 5


RULES = """
    variables: {PLACE: src}
    always: {script: x}
    build: {script: x, rules: [%s]}
    """


@pytest.mark.parametrize(
    ("rule", "there"),
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
def test_rules_ask_for_files_and_what_changed(rule: str, there: bool) -> None:
    found = pipeline(RULES % rule, tree=TREE)
    assert ("build" in {one.name for one in found.jobs}) is there
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("keyword", "there"),
    [("only: {changes: [src/*]}", True), ("only: {changes: [Makefile]}", False), ("except: {changes: [src/*]}", False)],
)
def test_only_and_except_ask_for_what_changed(keyword: str, there: bool) -> None:
    source = f"always: {{script: x}}\nbuild:\n  script: x\n  {keyword}\n"
    assert ("build" in jobs(source, tree=TREE)) is there


def test_where_nothing_is_known_of_the_commit_before_changes_counts_as_fulfilled_with_a_warning() -> None:
    found = pipeline("build:\n  script: x\n  rules:\n    - changes: [src/*]\n", tree=Tree(TREE.blobs))
    assert [one.name for one in found.jobs] == ["build"]
    assert found.warnings == (
        "line 4, column 7: `changes` in a rule of the job `build` counts as fulfilled: it is not known of this commit",
    )


def test_a_comparison_with_something_else_is_warned_of() -> None:
    found = pipeline("build: {script: x, rules: [{changes: {paths: ['src/*'], compare_to: main}}]}\n", tree=TREE)
    assert "`compare_to` of `changes` in a rule of the job `build` is not supported" in found.warnings[0]


def test_too_many_paths_are_refused_with_their_place() -> None:
    paths = ", ".join(f"p{number}" for number in range(51))
    source = f"build:\n  script: x\n  rules:\n    - exists: [{paths}]\n"
    assert fault(source, tree=TREE) == "line 4, column 15: `exists` in a rule of the job `build`: more than 50 paths"


def test_a_key_of_a_cache_follows_the_content_of_files() -> None:
    source = "build: {script: x, cache: {key: {files: [Makefile, nowhere], prefix: $CI_JOB_NAME}, paths: [deps]}}\n"
    (same,), (again,) = job(source, tree=TREE).caches, job(source, tree=TREE).caches
    (other,) = job(source, tree=Tree({"Makefile": "other"})).caches
    assert same.key == again.key != other.key
    assert same.key.startswith("$CI_JOB_NAME-")


def test_a_key_of_files_that_do_not_exist_is_the_default_one() -> None:
    (cache,) = job("build: {script: x, cache: {key: {files: [nowhere]}, paths: [deps]}}\n", tree=TREE).caches
    assert cache.key == "default"
