"""YAML within limits, with line and column in every complaint."""

import time

import pytest

from services.builds.pipeline.reading import read
from services.builds.spec import SpecInvalid, SpecUnreadable
from tests.unit.pipeline.samples import fault, job, jobs, pipeline


def test_an_anchor_is_what_it_names() -> None:
    found = job(
        """
        .common: &common
          script: [make]
          tags: [linux]
        build:
          <<: *common
          tags: [arm]
        """
    )
    assert (found.commands, found.tags) == (("make",), ("arm",))


def test_of_several_merged_mappings_the_first_one_wins() -> None:
    found = job(
        """
        .a: &a {script: a}
        .b: &b {script: b, tags: [b]}
        build:
          <<: [*a, *b]
        """
    )
    assert (found.commands, found.tags) == (("a",), ("b",))


def test_a_reference_is_replaced_by_what_stands_there_and_lists_in_lists_are_flat() -> None:
    found = job(
        """
        .setup:
          script: [one, two]
          variables: {A: a}
        build:
          variables: !reference [.setup, variables]
          script:
            - !reference [.setup, script]
            - three
        """
    )
    assert found.commands == ("one", "two", "three")
    assert [(one.key, one.value) for one in found.variables] == [("A", "a")]


def test_numbers_and_words_are_taken_as_they_are_written() -> None:
    found = job("{variables: {A: 1.10, B: yes, C: 0755, D: , E: 2024-01-01}, build: {script: make}}")
    assert [one.value for one in found.variables] == ["1.10", "yes", "0755", "", "2024-01-01"]


def test_a_reference_to_nothing_is_told_with_its_place() -> None:
    assert fault("build:\n  script: !reference [.setup, script]\n") == (
        "line 2, column 11: !reference [.setup, script] names nothing"
    )


def test_references_in_a_circle_end() -> None:
    assert "lead in a circle" in fault(".a: !reference [.b]\n.b: !reference [.a]\nbuild: {script: make}\n")


def test_broken_yaml_is_told_with_its_place() -> None:
    assert fault("build:\n  script: [make\nother: x\n").startswith("line 3, column 6: the spec file is not YAML")


def test_a_key_that_stands_twice_is_warned_of() -> None:
    assert pipeline("build: {script: a}\nbuild: {script: b}\n").warnings == (
        "line 2, column 1: `build` stands here a second time; the first one has no effect",
    )


def test_aliases_that_unfold_to_gigabytes_are_refused_at_once() -> None:
    lines = [".a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f".a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.monotonic()
    assert "unfold to more than" in fault("\n".join([*lines, "build: {script: make}"]))
    assert time.monotonic() - began < 5


def test_an_anchor_that_contains_itself_is_refused() -> None:
    assert "an anchor contains itself" in fault(".a: &a [*a]\nbuild: {script: make}\n")


def test_nesting_is_limited() -> None:
    assert fault("build: " + "[" * 60 + "]" * 60) == "line 1, column 57: nested deeper than 50"


def test_aliases_are_limited() -> None:
    assert "more than 1000 aliases" in fault(".a: &a x\n.b: [" + "*a, " * 1001 + "x]\n")


def test_merges_are_limited() -> None:
    wide = "\n".join(f"  k{n}: x" for n in range(2000))
    assert "`<<` brings more than" in fault(f".a: &a\n{wide}\n.b:\n  <<: [{', '.join(['*a'] * 100)}]\n")


def test_a_tag_that_would_make_an_object_is_refused() -> None:
    assert fault("build: !!python/object/apply:os.system [ls]\n") == (
        "line 1, column 8: the tag tag:yaml.org,2002:python/object/apply:os.system is not supported"
    )


def test_a_second_document_is_refused() -> None:
    assert "a second YAML document" in fault("build: {script: make}\n---\nother: {script: make}\n")


@pytest.mark.parametrize("source", ["", "# nothing\n"])
def test_an_empty_file_is_told(source: str) -> None:
    assert fault(source) == "the spec file is empty"


def test_a_file_that_is_no_mapping_is_told() -> None:
    assert fault("- build\n") == "line 1, column 1: the spec file must be a mapping of keywords and jobs"


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"#" * (1024 * 1024 + 1)])
def test_what_is_no_text_or_too_much_of_it_is_not_readable(content: bytes) -> None:
    with pytest.raises(SpecUnreadable):
        read(content, print)


def test_control_characters_are_refused() -> None:
    with pytest.raises(SpecInvalid):
        read(b"build: {script: '\x00'}", print)


def test_more_jobs_than_allowed_are_refused() -> None:
    assert "at most 200 are allowed" in fault("\n".join(f"job{n}: {{script: make}}" for n in range(201)))
    assert len(jobs("\n".join(f"job{n}: {{script: make}}" for n in range(200)))) == 200
