"""Warnings and errors for unsupported, unknown and invalid job keywords."""

import pytest

from tests.unit.builds.planning.samples import compile_error, compile_sample


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        (
            "environment: prod",
            "`environment` of the job `build` only sets variables: deployments are not tracked",
        ),
        ("interruptible: true", "`interruptible` of the job `build` is not supported and has no effect"),
        ("resource_group: one", "`resource_group` of the job `build` is not supported and has no effect"),
        ("release: {}", "`release` of the job `build` is not supported and has no effect"),
        ("secrets: {}", "`secrets` of the job `build` is not supported and has no effect"),
        ("trigger: other", "`trigger` of the job `build` is not supported and has no effect"),
        ("scirpt: x", "the keyword `scirpt` of the job `build` is unknown and has no effect"),
    ],
)
def test_unsupported_job_keywords_give_a_warning(line: str, warning: str) -> None:
    assert compile_sample(f"build:\n  script: x\n  {line}\n").warnings == (f"line 3, column 3: {warning}",)


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("default: {hooks: x}", "line 1, column 11: `hooks` in `default` is not supported and has no effect"),
        ("workflow: {name: x}", "line 1, column 12: `name` in `workflow` is not supported and has no effect"),
    ],
)
def test_unsupported_global_keywords_give_a_warning(source: str, warning: str) -> None:
    assert compile_sample(f"{source}\nbuild: {{script: x}}\n").warnings == (warning,)


def test_unsupported_details_give_a_warning() -> None:
    pipeline = compile_sample(
        """
        build:
          script: x
          when: delayed
          start_in: 5 minutes
          artifacts: {paths: [a], reports: {junit: [a.xml], dotenv: [b.env]}}
          cache: {key: {files: [lock]}, paths: [b]}
        start:
          trigger: other
        """
    )
    assert [warning.partition(": ")[2] for warning in pipeline.warnings] == [
        "the job `build` starts without delay: `when: delayed` is not supported",
        "`dotenv` in `reports` of the job `build` is not supported and has no effect",
        "the key of the cache of the job `build` ignores the content of files: it is unknown",
        "`trigger` of the job `start` is not supported and has no effect",
        "the job `start` has no script, and is left out: `trigger` and `run` are not supported",
    ]


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("script: {a: b}", "line 2, column 11: `script` of the job `build` must be text"),
        ("tags: [x]", "line 2, column 3: the job `build` has no script"),
        ("script: x\n  stage: ship", "line 3, column 3: the job `build` has the stage `ship`, which is not one of"),
        ("script: x\n  when: later", "line 3, column 9: `when` of the job `build` must be one of on_success"),
        ("script: x\n  retry: 3", "line 3, column 10: `retry` of the job `build` must be a whole number from 0 to 2"),
        ("script: x\n  retry: {max: 1, foo: 2}", "line 3, column 19: `retry` of the job `build` has the unknown"),
        ("script: x\n  timeout: soon", "line 3, column 12: `timeout` of the job `build` must be a duration"),
        ("script: x\n  allow_failure: 1", "line 3, column 18: `allow_failure` of the job `build` must be true"),
        ("script: x\n  variables: {1A: b}", "line 3, column 15: `1A` cannot be the name of a variable"),
        ("script: x\n  variables: {A: [b]}", "line 3, column 18: the variable `A` must be text"),
        ("script: x\n  image: {entrypoint: a}", "line 3, column 10: `image` of the job `build` has no name"),
        ("script: x\n  image: {name: a, nmae: b}", "line 3, column 20: `image` of the job `build` has the unknown"),
        ("script: x\n  artifacts: [a]", "line 3, column 14: `artifacts` of the job `build` must be a mapping"),
        ("script: x\n  cache: a", "line 3, column 10: `cache` of the job `build` must be a mapping"),
        ("script: x\n  parallel: 0", "line 3, column 13: `parallel` of the job `build` must be a whole number"),
        ("script: x\n  parallel: {a: 1}", "line 3, column 13: `parallel` of the job `build` must be a number, or"),
        ("script: x\n  extends: .no", "line 3, column 12: `build` extends `.no`, which does not exist"),
        ("script: x\n  extends: build", "line 3, column 3: `extends` of `build` forms a cycle"),
        ("script: x\n  rules: [{if: $A}]\n  only: [main]", "line 3, column 3: the job `build` has `rules`, and `only`"),
    ],
)
def test_errors_are_reported_with_line_and_column(keyword: str, words: str) -> None:
    assert compile_error(f"build:\n  {keyword}\n").startswith(words)


NESTED = f"script: {'[' * 11}x{']' * 11}"


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("script: 42", "line 2, column 11: `script` of the job `build` must be text: write 42 in quotes"),
        ("script: true", "line 2, column 11: `script` of the job `build` must be text: write true in quotes"),
        ("script: ''", "line 2, column 3: the job `build` has no script"),
        ("script: []", "line 2, column 3: the job `build` has no script"),
        ("script: [a, 1.5]", "line 2, column 15: `script` of the job `build` must be text: write 1.5 in quotes"),
        ("script: [a, null]", "line 2, column 15: `script` of the job `build` must be text"),
        ("script: [a, [{b: c}]]", "line 2, column 16: `script` of the job `build` must be text: put a command"),
        (NESTED, "line 2, column 21: lists are nested deeper than 10"),
        (
            "script: x\n  before_script: {a: b}",
            "line 3, column 18: `before_script` of the job `build` must be text: put",
        ),
        ("script: x\n  before_script: 1", "line 3, column 18: `before_script` of the job `build` must be text"),
        ("script: x\n  after_script: [no]", "line 3, column 18: `after_script` of the job `build` must be text"),
        ("script: x\n  stage: 1", "line 3, column 10: `stage` of the job `build` must be text: write 1 in quotes"),
        ("script: x\n  tags: x", "line 3, column 9: `tags` of the job `build` must be a list"),
        ("script: x\n  tags: [1]", "line 3, column 10: each of `tags` of the job `build` must be text"),
        ("script: x\n  only: main", "line 3, column 9: `only` of the job `build` must be a list"),
        ("script: x\n  except: {refs: main}", "line 3, column 18: `refs` in `except` of the job `build` must be a"),
        ("script: x\n  only: {variables: $A}", "line 3, column 21: `variables` in `only` of the job `build` must"),
        ("script: x\n  rules: {if: $A}", "line 3, column 10: `rules` of the job `build` must be a list"),
        ("script: x\n  rules: [{if: true}]", "line 3, column 16: `if` of the job `build` must be text"),
        ("script: x\n  rules: [{changes: a}]", "line 3, column 21: `changes` in a rule of the job `build` must be a"),
        ("script: x\n  dependencies: a", "line 3, column 17: `dependencies` of the job `build` must be a list"),
        ("script: x\n  services: redis", "line 3, column 13: `services` of the job `build` must be a list"),
        ("script: x\n  image: 12", "line 3, column 10: `image` of the job `build` must be text: write 12 in quotes"),
        ("script: x\n  image: {name: a, entrypoint: b}", "line 3, column 32: `entrypoint` of `image` of the job"),
        (
            "script: x\n  coverage: 95%",
            "line 3, column 13: `coverage` of the job `build` must be a regular expression in",
        ),
        (
            "script: x\n  coverage: /a(/",
            "line 3, column 13: `coverage` of the job `build`: the pattern /a(/ is not valid",
        ),
        ("script: x\n  coverage: '/(?=a)/'", "line 3, column 13: `coverage` of the job `build`: the pattern"),
        (
            "script: x\n  artifacts: {reports: a.xml}",
            "line 3, column 24: `reports` of the job `build` must be a mapping",
        ),
        ("script: x\n  artifacts: {paths: a}", "line 3, column 22: `paths` in `artifacts` of the job `build` must"),
        ("script: x\n  cache: {paths: a}", "line 3, column 18: `paths` in `cache` of the job `build` must be a list"),
        ("script: x\n  cache: {key: 1}", "line 3, column 16: the key of the cache of the job `build` must be text"),
        ("script: x\n  inherit: false", "line 3, column 12: `inherit` must be a mapping"),
        ("script: x\n  inherit: {tags: true}", "line 3, column 13: `inherit` has the unknown keyword `tags`"),
        ("script: x\n  parallel: {matrix: {A: b}}", "line 3, column 22: the matrix of the job `build` must be a list"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected_as_in_gitlab(keyword: str, words: str) -> None:
    assert compile_error(f"build:\n  {keyword}\n").startswith(words)


def test_stages_must_be_a_list_of_texts() -> None:
    assert compile_error("stages: build\nbuild: {script: x}\n") == "line 1, column 9: `stages` must be a list"
    assert compile_error("stages: [1]\nbuild: {script: x}\n").startswith(
        "line 1, column 10: each of `stages` must be text"
    )


def test_an_unknown_top_level_key_is_rejected() -> None:
    assert compile_error("build: {script: x}\nfoo: 1\n") == (
        "line 2, column 1: `foo` is neither a known keyword nor a job: a job is a mapping"
    )


def test_a_pipeline_with_only_pre_and_post_jobs_is_rejected() -> None:
    assert "the pipeline has no jobs for main" in compile_error("{a: {stage: .pre, script: x}}")


def test_a_plan_too_large_for_an_event_is_rejected() -> None:
    assert "more than 512 KiB together" in compile_error(f"{{build: {{script: {'x' * 6000}, parallel: 100}}}}")


def test_unsupported_image_keywords_give_a_warning() -> None:
    pipeline = compile_sample(
        "{a: {script: x, image: {name: debian, docker: {user: dave}}, services: [{name: db, ports: [1]}]}}"
    )
    assert [warning.partition(": ")[2] for warning in pipeline.warnings] == [
        "`docker` of `image` of the job `a` is not supported and has no effect",
        "`ports` of a service of the job `a` is not supported and has no effect",
    ]
