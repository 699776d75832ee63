"""The order of the jobs of a build: stages, needs and conditions."""

from collections.abc import Mapping
from typing import Any

import pytest

from contracts.builds import JobStatus, PlannedJob
from services.builds.domain.job_graph import JobGraph


def plan_jobs(**specs: Mapping[str, Any]) -> list[PlannedJob]:
    """Return one planned job per keyword. Its value holds further fields; the job ids count up from 1."""
    return [
        PlannedJob(job_id=number, job_uuid=str(number), name=name, **more)
        for number, (name, more) in enumerate(specs.items(), 1)
    ]


def statuses_after(planned: list[PlannedJob], **ends: str) -> dict[str, str]:
    """End the jobs with the given statuses, in order. Return the status of every job by name."""
    numbers = {job.name: job.job_id for job in planned}
    progress = JobGraph.of(planned)
    for name, status in ends.items():
        assert progress.statuses[numbers[name]] is JobStatus.QUEUED
        progress = progress.with_statuses({numbers[name]: JobStatus(status)}).advance()
    return {name: str(progress.statuses[number]) for name, number in numbers.items()}


STAGES = plan_jobs(a={}, b={}, c={"stage_place": 1}, d={"stage_place": 2})
NEEDS = plan_jobs(a={}, b={}, c={"stage_place": 1, "needs": ("a",)}, d={"stage_place": 2, "needs": ("c",)})


def test_jobs_of_the_first_stage_are_queued_immediately() -> None:
    assert statuses_after(STAGES) == {"a": "QUEUED", "b": "QUEUED", "c": "CREATED", "d": "CREATED"}


def test_a_stage_waits_for_every_job_of_the_previous_stage() -> None:
    assert statuses_after(STAGES, a="SUCCESS")["c"] == "CREATED"
    assert statuses_after(STAGES, a="SUCCESS", b="WARNING")["c"] == "QUEUED"


def test_later_stages_are_skipped_after_a_failure() -> None:
    assert statuses_after(STAGES, a="SUCCESS", b="FAILED") == {
        "a": "SUCCESS",
        "b": "FAILED",
        "c": "SKIPPED",
        "d": "SKIPPED",
    }


def test_a_job_with_needs_waits_only_for_those_jobs() -> None:
    assert statuses_after(NEEDS, a="SUCCESS") == {"a": "SUCCESS", "b": "QUEUED", "c": "QUEUED", "d": "CREATED"}


def test_jobs_that_need_a_skipped_job_are_skipped() -> None:
    assert statuses_after(NEEDS, a="FAILED") == {"a": "FAILED", "b": "QUEUED", "c": "SKIPPED", "d": "SKIPPED"}


def test_a_job_with_an_empty_needs_list_is_queued_immediately() -> None:
    assert statuses_after(plan_jobs(a={}, b={"stage_place": 1, "needs": ()}))["b"] == "QUEUED"


@pytest.mark.parametrize(
    ("when", "good", "bad"),
    [
        ("on_success", "QUEUED", "SKIPPED"),
        ("on_failure", "SKIPPED", "QUEUED"),
        ("always", "QUEUED", "QUEUED"),
        ("manual", "MANUAL", "SKIPPED"),
    ],
)
def test_when_decides_whether_a_job_runs_after_success_or_failure(when: str, good: str, bad: str) -> None:
    planned = plan_jobs(a={}, b={"stage_place": 1, "when": when})
    assert statuses_after(planned, a="SUCCESS")["b"] == good
    assert statuses_after(planned, a="FAILED")["b"] == bad


def test_a_skipped_job_does_not_block_later_stages() -> None:
    planned = plan_jobs(a={}, rescue={"stage_place": 1, "when": "on_failure"}, b={"stage_place": 2})
    assert statuses_after(planned, a="SUCCESS") == {"a": "SUCCESS", "rescue": "SKIPPED", "b": "QUEUED"}


def test_a_manual_job_blocks_later_stages_only_if_it_must_succeed() -> None:
    optional = {"when": "manual", "allow_failure": True}
    assert statuses_after(plan_jobs(a=optional, b={"stage_place": 1})) == {"a": "MANUAL", "b": "QUEUED"}
    assert statuses_after(plan_jobs(a={"when": "manual"}, b={"stage_place": 1})) == {"a": "MANUAL", "b": "CREATED"}


def test_jobs_that_need_an_unplayed_manual_job_are_skipped_at_the_end() -> None:
    planned = plan_jobs(
        a={},
        offered={"when": "manual", "allow_failure": True},
        b={"stage_place": 1, "needs": ("offered",)},
        c={"stage_place": 2, "needs": ("b",)},
        d={"stage_place": 3},
    )
    assert statuses_after(planned, a="SUCCESS")["d"] == "QUEUED"
    assert statuses_after(planned, a="SUCCESS", d="SUCCESS") == {
        "a": "SUCCESS",
        "offered": "MANUAL",
        "b": "SKIPPED",
        "c": "SKIPPED",
        "d": "SUCCESS",
    }


def test_skipped_jobs_wait_again_when_the_job_they_need_is_rerun() -> None:
    progress = JobGraph.of(plan_jobs(a={}, b={"stage_place": 1})).with_statuses({1: JobStatus.FAILED}).advance()
    assert progress.is_finished
    rerun = progress.rerun([1])
    assert rerun.statuses == {1: JobStatus.QUEUED, 2: JobStatus.CREATED}
    assert rerun.with_statuses({1: JobStatus.SUCCESS}).advance().statuses[2] is JobStatus.QUEUED


def test_a_failure_may_be_allowed_for_all_or_for_some_exit_codes() -> None:
    progress = JobGraph.of(plan_jobs(a={"allow_failure": True}, b={"allow_failure_codes": (3,)}, c={}))
    failed = JobStatus.FAILED
    assert [progress.effective_status(job_id, failed, code) for job_id, code in ((1, 1), (2, 3), (2, 1), (3, 3))] == [
        JobStatus.WARNING,
        JobStatus.WARNING,
        JobStatus.FAILED,
        JobStatus.FAILED,
    ]
    assert progress.effective_status(1, JobStatus.CANCELED, 143) is JobStatus.CANCELED
