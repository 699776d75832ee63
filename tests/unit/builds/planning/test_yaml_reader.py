"""The YAML reader: limits, and errors with line and column."""

import time

import pytest

from services.builds.pipeline.document.yaml_reader import read_yaml
from services.builds.planning.spec import SpecInvalid, SpecUnreadable
from tests.unit.builds.planning.samples import compile_error, compile_job, compile_jobs, compile_sample


def test_a_yaml_anchor_is_resolved() -> None:
    job = compile_job(
        """
        .common: &common
          script: [make]
          tags: [linux]
        build:
          <<: *common
          tags: [arm]
        """
    )
    assert (job.commands, job.tags) == (("make",), ("arm",))


def test_the_first_of_several_merged_mappings_wins() -> None:
    job = compile_job(
        """
        .a: &a {script: a}
        .b: &b {script: b, tags: [b]}
        build:
          <<: [*a, *b]
        """
    )
    assert (job.commands, job.tags) == (("a",), ("b",))


def test_a_reference_is_replaced_and_nested_lists_are_flattened() -> None:
    job = compile_job(
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
    assert job.commands == ("one", "two", "three")
    assert [(variable.key, variable.value) for variable in job.variables] == [("A", "a")]


def test_scalar_values_are_kept_as_written() -> None:
    job = compile_job("{variables: {A: 1.10, B: yes, C: 0755, D: , E: 2024-01-01}, build: {script: make}}")
    assert [variable.value for variable in job.variables] == ["1.10", "yes", "0755", "", "2024-01-01"]


def test_an_unknown_reference_is_reported_with_its_position() -> None:
    assert compile_error("build:\n  script: !reference [.setup, script]\n") == (
        "line 2, column 11: !reference [.setup, script] does not exist"
    )


def test_circular_references_are_rejected() -> None:
    assert "form a cycle" in compile_error(".a: !reference [.b]\n.b: !reference [.a]\nbuild: {script: make}\n")


def test_invalid_yaml_is_reported_with_its_position() -> None:
    assert compile_error("build:\n  script: [make\nother: x\n").startswith(
        "line 3, column 6: the spec file is not YAML"
    )


def test_a_duplicate_key_gives_a_warning() -> None:
    assert compile_sample("build: {script: a}\nbuild: {script: b}\n").warnings == (
        "line 2, column 1: `build` is a duplicate key; its first value has no effect",
    )


def test_aliases_that_expand_to_gigabytes_are_rejected_immediately() -> None:
    lines = [".a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f".a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.monotonic()
    assert "expand to more than" in compile_error("\n".join([*lines, "build: {script: make}"]))
    assert time.monotonic() - began < 5


def test_an_anchor_that_contains_itself_is_rejected() -> None:
    assert "an anchor contains itself" in compile_error(".a: &a [*a]\nbuild: {script: make}\n")


def test_yaml_nesting_is_limited() -> None:
    assert compile_error("build: " + "[" * 60 + "]" * 60) == "line 1, column 57: nested deeper than 50"


def test_the_number_of_yaml_aliases_is_limited() -> None:
    assert "more than 1000 aliases" in compile_error(".a: &a x\n.b: [" + "*a, " * 1001 + "x]\n")


def test_the_size_of_yaml_merges_is_limited() -> None:
    wide = "\n".join(f"  k{n}: x" for n in range(2000))
    assert "`<<` merges more than" in compile_error(f".a: &a\n{wide}\n.b:\n  <<: [{', '.join(['*a'] * 100)}]\n")


def test_a_yaml_tag_that_creates_an_object_is_rejected() -> None:
    assert compile_error("build: !!python/object/apply:os.system [ls]\n") == (
        "line 1, column 8: the tag tag:yaml.org,2002:python/object/apply:os.system is not supported"
    )


def test_a_second_yaml_document_is_rejected() -> None:
    assert "a second YAML document" in compile_error("build: {script: make}\n---\nother: {script: make}\n")


@pytest.mark.parametrize("source", ["", "# nothing\n"])
def test_an_empty_spec_file_is_rejected(source: str) -> None:
    assert compile_error(source) == "the spec file is empty"


def test_a_spec_file_that_is_not_a_mapping_is_rejected() -> None:
    assert compile_error("- build\n") == "line 1, column 1: the spec file must be a mapping of keywords and jobs"


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"#" * (1024 * 1024 + 1)])
def test_a_binary_or_oversized_spec_file_is_unreadable(content: bytes) -> None:
    with pytest.raises(SpecUnreadable):
        read_yaml(content, print)


def test_control_characters_in_the_spec_file_are_rejected() -> None:
    with pytest.raises(SpecInvalid):
        read_yaml(b"build: {script: '\x00'}", print)


def test_too_many_jobs_are_rejected() -> None:
    assert "at most 200 are allowed" in compile_error("\n".join(f"job{n}: {{script: make}}" for n in range(201)))
    assert len(compile_jobs("\n".join(f"job{n}: {{script: make}}" for n in range(200)))) == 200
