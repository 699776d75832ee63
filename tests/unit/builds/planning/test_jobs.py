"""Job keywords of a pipeline file."""

import pytest

from contracts.builds import PlannedArtifacts, PlannedCache, PlannedImage, PlannedReports, PlannedVariable
from tests.unit.builds.planning.samples import compile_job, compile_jobs, compile_sample


def test_a_job_runs_before_script_script_and_after_script() -> None:
    job = compile_job("{build: {before_script: [one], script: [two, three], after_script: four}}")
    assert (job.commands, job.after_commands) == (("one", "two", "three"), ("four",))
    assert (job.stage, job.when, job.allow_failure, job.needs) == ("test", "on_success", False, None)


def test_gitflic_keyword_spellings_are_accepted() -> None:
    job = compile_job("{build: {before_scripts: [one], scripts: [two], after_scripts: [three]}}")
    assert (job.commands, job.after_commands) == (("one", "two"), ("three",))


def test_jobs_are_sorted_by_stage() -> None:
    pipeline = compile_sample(
        """
        stages: [lint, ship]
        last: {stage: .post, script: x}
        second: {stage: ship, script: x}
        first: {stage: lint, script: x}
        before: {stage: .pre, script: x}
        """
    )
    assert [(job.name, job.stage_place) for job in pipeline.jobs] == [
        ("before", 0),
        ("first", 1),
        ("second", 2),
        ("last", 3),
    ]


def test_the_default_stages_are_build_test_and_deploy() -> None:
    jobs = compile_jobs("{a: {stage: deploy, script: x}, b: {script: x}, c: {stage: build, script: x}}")
    assert [(job.name, job.stage) for job in jobs.values()] == [("c", "build"), ("b", "test"), ("a", "deploy")]


def test_a_hidden_job_does_not_run() -> None:
    assert list(compile_jobs("{.base: {script: x}, build: {extends: .base}}")) == ["build"]


def test_extends_merges_mappings_and_replaces_lists() -> None:
    job = compile_job(
        """
        .far: {variables: {A: far, B: far}, tags: [far], script: far}
        .near: {extends: .far, variables: {B: near}, tags: [near]}
        .other: {variables: {D: other}}
        build: {extends: [.near, .other], variables: {C: own}}
        """
    )
    assert [(variable.key, variable.value) for variable in job.variables] == [
        ("A", "far"),
        ("B", "near"),
        ("D", "other"),
        ("C", "own"),
    ]
    assert (job.tags, job.commands) == (("near",), ("far",))


def test_defaults_apply_where_a_job_sets_no_value() -> None:
    source = """
        image: old
        default: {image: debian, before_script: [prepare], tags: [linux], retry: 1, timeout: 5 minutes}
        a: {script: x}
        b: {script: x, image: alpine, before_script: []}
        c: {script: x, inherit: {default: false}}
        d: {script: x, inherit: {default: [tags]}}
        """
    jobs = compile_jobs(source)
    assert (jobs["a"].image, jobs["a"].commands, jobs["a"].tags) == ("debian", ("prepare", "x"), ("linux",))
    assert (jobs["a"].retries, jobs["a"].timeout_seconds) == (1, 300)
    assert (jobs["b"].image, jobs["b"].commands) == ("alpine", ("x",))
    assert (jobs["c"].image, jobs["c"].commands, jobs["c"].tags) == (None, ("x",), ())
    assert (jobs["d"].image, jobs["d"].tags) == (None, ("linux",))


def test_image_and_services_are_names_or_mappings() -> None:
    job = compile_job(
        """
        build:
          image: {name: "debian:12", entrypoint: [""], pull_policy: always}
          services: [redis, {name: "postgres:16", alias: db, command: [postgres, -d], variables: {POSTGRES_DB: $NAME}}]
          script: x
        """
    )
    assert job.image == "debian:12"
    assert job.container == PlannedImage(name="debian:12", entrypoint=("",), pull_policy=("always",))
    assert job.services == (
        PlannedImage(name="redis"),
        PlannedImage(
            name="postgres:16",
            alias="db",
            command=("postgres", "-d"),
            variables=(PlannedVariable(key="POSTGRES_DB", value="$NAME"),),
        ),
    )


def test_artifact_and_cache_settings_are_passed_on() -> None:
    job = compile_job(
        """
        build:
          script: x
          artifacts: {name: out, paths: [out/], exclude: ["*.o"], when: always, expire_in: 1 week, untracked: true}
          cache:
            - {key: deps, paths: [.deps], policy: pull, when: on_failure, fallback_keys: [old]}
            - {paths: [other]}
        """
    )
    assert job.artifacts == PlannedArtifacts(
        name="out", paths=("out/",), exclude=("*.o",), when="always", expire_in="1 week", untracked=True
    )
    assert job.caches == (
        PlannedCache(key="deps", paths=(".deps",), policy="pull", when="on_failure", fallback_keys=("old",)),
        PlannedCache(paths=("other",)),
    )


def test_the_coverage_pattern_of_a_job_is_planned() -> None:
    assert compile_job(r"build: {script: x, coverage: '/(\d+)%/i'}").coverage == r"/(\d+)%/i"


@pytest.mark.parametrize("paths", ["a.xml", "[a.xml]", "[[a.xml]]"])
def test_junit_reports_are_planned_besides_artifacts(paths: str) -> None:
    job = compile_job(
        f"build: {{script: x, artifacts: {{reports: {{junit: {paths}}}, when: on_failure, expire_in: 1 day}}}}"
    )
    assert job.artifacts is None
    assert job.reports == PlannedReports(junit=("a.xml",), expire_in="1 day")


@pytest.mark.parametrize(
    ("keywords", "when", "allowed"),
    [
        ("when: always", "always", False),
        ("when: on_failure", "on_failure", False),
        ("when: manual", "manual", True),
        ("when: manual, allow_failure: false", "manual", False),
        ("when: manual, rules: [{if: $CI}]", "manual", False),
        ("rules: [{when: manual, allow_failure: true}]", "manual", True),
        ("allow_failure: true", "on_success", True),
    ],
)
def test_a_manual_job_may_fail_by_default_except_in_rules(keywords: str, when: str, allowed: bool) -> None:
    job = compile_job(f"{{build: {{script: x, {keywords}}}}}")
    assert (job.when, job.allow_failure) == (when, allowed)


def test_failures_with_listed_exit_codes_may_be_allowed() -> None:
    assert compile_job("{build: {script: x, allow_failure: {exit_codes: [3, 4]}}}").allow_failure_codes == (3, 4)
    assert compile_job("{build: {script: x, allow_failure: {exit_codes: 3}}}").allow_failure_codes == (3,)


def test_a_job_may_have_retries() -> None:
    assert compile_job("{build: {script: x, retry: 2}}").retries == 2
    job = compile_job("{build: {script: x, retry: {max: 1, when: [script_failure, job_execution_timeout]}}}")
    assert (job.retries, job.retry_when) == (1, ("script_failure", "job_execution_timeout"))
    assert compile_job("{build: {script: x, retry: {max: 1, when: always}}}").retry_when == ()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1h 30m", 5400), ("90 minutes", 5400), ("3600", 3600), ("1 hour and 5 seconds", 3605), ("0.5h", 1800)],
)
def test_a_job_timeout_may_be_a_human_readable_duration(written: str, seconds: int) -> None:
    source = f"{{build: {{script: x, timeout: {written}}}}}"
    assert compile_job(source).timeout_seconds == min(seconds, 3600)


def test_a_job_timeout_is_capped_at_the_server_limit() -> None:
    assert compile_sample("build:\n  script: x\n  timeout: 2h\n").warnings == (
        "line 3, column 12: `timeout` of the job `build` is more than the server's limit: it is 3600 seconds",
    )


def test_parallel_creates_numbered_jobs() -> None:
    jobs = compile_jobs("{build: {script: x, parallel: 2}}")
    assert list(jobs) == ["build 1/2", "build 2/2"]
    assert [(variable.key, variable.value) for variable in jobs["build 2/2"].variables] == [
        ("CI_NODE_INDEX", "2"),
        ("CI_NODE_TOTAL", "2"),
    ]


def test_a_matrix_creates_all_combinations() -> None:
    jobs = compile_jobs(
        """
        build:
          script: x
          parallel:
            matrix:
              - {OS: [linux, mac], ARCH: arm}
              - {OS: bsd}
        """
    )
    assert list(jobs) == ["build: [linux, arm]", "build: [mac, arm]", "build: [bsd]"]
    assert {variable.key: variable.value for variable in jobs["build: [mac, arm]"].variables} == {
        "CI_NODE_INDEX": "2",
        "CI_NODE_TOTAL": "3",
        "OS": "mac",
        "ARCH": "arm",
    }


def test_a_script_is_text_or_a_list_nested_at_most_ten_levels() -> None:
    assert compile_job("build: {script: '42'}").commands == ("42",)
    assert compile_job("build: {script: [a, [b, [c]], '1'], before_script: ''}").commands == ("", "a", "b", "c", "1")
    assert compile_job(f"build: {{script: {'[' * 10}x{']' * 10}}}").commands == ("x",)


def test_a_retry_may_be_for_reasons_or_exit_codes() -> None:
    job = compile_job("build: {script: x, retry: {max: 1, when: [runner_system_failure], exit_codes: [137, 3]}}\n")
    assert (job.retries, job.retry_when, job.retry_codes) == (1, ("runner_system_failure",), (137, 3))
    (always,) = (compile_job("build: {script: x, retry: {max: 1, when: always, exit_codes: 3}}\n"),)
    assert (always.retry_when, always.retry_codes) == ((), ())


def test_tags_may_use_variables_of_the_matrix_and_of_rules() -> None:
    jobs = compile_jobs(
        """
        variables: {WHERE: nowhere}
        a: {script: x, tags: ["on-${WHERE}", "$SIZE"], parallel: {matrix: [{WHERE: [aws, gcp]}]},
            rules: [{variables: {SIZE: big}}]}
        """
    )
    assert [job.tags for job in jobs.values()] == [("on-aws", "big"), ("on-gcp", "big")]


def test_a_cache_policy_may_be_a_variable() -> None:
    (cache,) = compile_job("{a: {script: x, variables: {HOW: pull}, cache: {paths: [x], policy: $HOW}}}").caches
    assert cache.policy == "$HOW"


@pytest.mark.parametrize(
    ("written", "variables"),
    [
        ("staging", {"NAME": "staging", "SLUG": "staging", "ACTION": "start"}),
        (
            "{name: review/$CI_COMMIT_REF_NAME, url: https://$CI_ENVIRONMENT_SLUG.x, action: stop, "
            "deployment_tier: test}",
            {
                "NAME": "review/$CI_COMMIT_REF_NAME",
                "SLUG": "review-main-b8c678",
                "ACTION": "stop",
                "URL": "https://$CI_ENVIRONMENT_SLUG.x",
                "TIER": "test",
            },
        ),
    ],
)
def test_an_environment_sets_variables_and_gives_a_warning(written: str, variables: dict[str, str]) -> None:
    (job,) = (result := compile_sample(f"{{a: {{script: x, environment: {written}}}}}")).jobs
    assert {variable.key.removeprefix("CI_ENVIRONMENT_"): variable.value for variable in job.variables} == variables
    assert result.warnings == (
        "line 1, column 17: `environment` of the job `a` only sets variables: deployments are not tracked",
    )
