"""Artifacts of a job: recorded while the job runs, replaced, expired, and removed on a retry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.builds import (
    Artifact,
    ArtifactRemoved,
    ArtifactUploaded,
    JobAssigned,
    JobDeleted,
    JobEvent,
    JobFinished,
    JobLost,
    JobQueued,
    JobRow,
    JobStarted,
    JobStatus,
    LaunchedProject,
    PlannedJob,
)
from contracts.errors import RequestRejected
from gateway.adapters.gitflic.job_list import GitFlicJob
from libs.eventstore.decider import SYSTEM, CommandMetadata, RecordedEvent
from services.builds.artifacts.artifacts import DEFAULT_EXPIRY, parse_expiry
from services.builds.domain.internal_commands import MarkJobLost, RecordArtifact, RemoveArtifact
from services.builds.domain.job import job_decider
from services.builds.job_projection import project_job
from tests.support.scenario import Scenario

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PROJECT = LaunchedProject(
    project_id=84, name="Mill", owner_alias="ivan", alias="mill", repository="r", branch="main", spec_file_path="/c"
)
PLANNED = PlannedJob(job_id=42, job_uuid="j", name="build", max_attempts=2)
ids: dict[str, int] = {"job_id": 42, "build_id": 17, "project_id": 84}
names = {"job_name": "build", "stage": "build", "project_name": "Mill"}
queued = JobQueued(
    **ids, job_uuid="j", owner_alias="ivan", attempt=1, ref="main", sha="s", project=PROJECT, job=PLANNED
)
assigned = JobAssigned(
    **ids, **names, attempt=1, runner_id=1, runner_uuid="r", runner_name="miller", token_hash="h", round=0
)
started = JobStarted(**ids, **names, attempt=1, runner_uuid="r", runner_name="miller")
finished = JobFinished(
    **ids, **names, attempt=1, status=JobStatus.SUCCESS, exit_code=0, runner_uuid="r", runner_name="miller"
)
file: dict[str, Any] = {"artifact_type": "archive", "artifact_format": "zip", "file_name": "out.zip", "size": 7}
uploaded = ArtifactUploaded(**ids, attempt=1, artifact_id="a", **file, expire_at=NOON + timedelta(days=2))
report = uploaded.replace(artifact_id="r", artifact_type="junit", expire_at=NOON + timedelta(days=1))
artifact = Artifact(id="a", **file, uploaded_at=NOON, expire_at=NOON + timedelta(days=2))
record = RecordArtifact(job_id=42, attempt=1, artifact=artifact)

job = Scenario(job_decider)


def removed(reason: str) -> ArtifactRemoved:
    return ArtifactRemoved(**ids, artifact_id="a", reason=reason)


def test_a_running_job_gets_an_artifact() -> None:
    job.given(queued, assigned, started).when(record).then(uploaded)


def test_recording_an_artifact_again_changes_nothing_even_after_the_job_ended() -> None:
    job.given(queued, assigned, started, uploaded, finished).when(record).then()


def test_an_artifact_replaces_another_of_the_same_type() -> None:
    other = record.replace(artifact=artifact.replace(id="b"))
    job.given(queued, assigned, started, uploaded).when(other).then(
        removed("replaced"), uploaded.replace(artifact_id="b")
    )


def test_artifacts_of_different_types_are_kept_together() -> None:
    other = record.replace(artifact=artifact.replace(id="b", artifact_type="junit"))
    job.given(queued, assigned, started, uploaded).when(other).then(
        uploaded.replace(artifact_id="b", artifact_type="junit")
    )


def test_a_finished_job_or_attempt_accepts_no_artifact() -> None:
    job.given(queued, assigned, started, finished).when(record).then_refused("JOB_STATUS")
    job.given(queued, assigned, started).when(record.replace(attempt=2)).then_refused("JOB_STATUS")


def test_an_artifact_expires_once() -> None:
    remove = RemoveArtifact(job_id=42, artifact_id="a", reason="expired")
    job.given(queued, assigned, started, uploaded, finished).when(remove).then(removed("expired"))
    job.given(queued, assigned, started, uploaded, finished, removed("expired")).when(remove).then()


def test_an_artifact_of_a_deleted_job_does_not_expire() -> None:
    deleted = JobDeleted(**ids)
    remove = RemoveArtifact(job_id=42, artifact_id="a", reason="expired")
    job.given(queued, assigned, started, uploaded, finished, deleted).when(remove).then()


def test_a_retried_job_loses_its_artifacts() -> None:
    lost = JobLost(**ids, **names, attempt=1, runner_uuid="r", runner_name="miller", reason="silence", retried=True)
    job.given(queued, assigned, started, uploaded).when(MarkJobLost(job_id=42, attempt=1, reason="silence")).then(
        lost, removed("retried"), queued.replace(attempt=2)
    )


def row(*events: JobEvent) -> JobRow:
    row_ = JobRow()
    for position, event in enumerate(events):
        cause = CommandMetadata("c", NOON, SYSTEM, "Test")
        row_ = project_job(row_, RecordedEvent("job-42", position + 1, 0, event, cause))
    return row_


def test_the_row_lists_artifacts_and_gitflic_shows_the_earliest_expiry() -> None:
    view = row(queued, assigned, started, uploaded, report)
    assert view.artifacts[0] == artifact
    line = GitFlicJob.model_validate(view.model_dump(mode="json"))
    assert line.artifactsExpireAt == "2026-02-01T12:00:00.000000Z"
    without = row(queued, assigned, started, uploaded, removed("expired"))
    assert without.artifacts == ()
    assert GitFlicJob.model_validate(without.model_dump(mode="json")).artifactsExpireAt is None


@pytest.mark.parametrize(
    ("text", "lives"),
    [
        ("", DEFAULT_EXPIRY),
        ("42", timedelta(seconds=42)),
        ("1 day", timedelta(days=1)),
        ("3 mins 4 sec", timedelta(seconds=184)),
        ("2h20min", timedelta(hours=2, minutes=20)),
        ("6 mos 1 day", timedelta(days=181)),
        ("3 weeks and 2 days", timedelta(days=23)),
        ("P1DT12H", timedelta(hours=36)),
        ("pt90s", timedelta(seconds=90)),
        ("999999999 years", timedelta(days=36500)),
    ],
)
def test_the_expiry_of_an_artifact_is_parsed(text: str, lives: timedelta) -> None:
    assert parse_expiry(text, NOON) == NOON + lives


def test_an_artifact_may_never_expire() -> None:
    assert parse_expiry(" Never ", NOON) is None


@pytest.mark.parametrize("text", ["soon", "1 fortnight", "P", "-1", "1 day or two", "PT1X"])
def test_an_invalid_expiry_is_rejected(text: str) -> None:
    with pytest.raises(RequestRejected, match="ARTIFACT_EXPIRE_IN_INVALID"):
        parse_expiry(text, NOON)
