"""The job payload as the agent reads it."""

from typing import Any

import pytest

from agent.protocol.job import InvalidJob, Step, parse_job

PAYLOAD: dict[str, Any] = {
    "id": 11,
    "token": "job-token",
    "job_info": {"name": "build", "stage": "build"},
    "git_info": {"repo_url": "http://u:pw@host/r.git", "sha": "f" * 40, "refspecs": ["+a:b"], "depth": 1},
    "runner_info": {"timeout": 60},
    "variables": [{"key": "A", "value": None}, {"key": "B", "value": "b", "file": True, "masked": True}],
    "steps": [{"name": "script", "script": ["one", "two"], "when": "on_success"}],
    "image": None,
    "features": {"failure_reasons": ["job_canceled"]},
    "brand_new": {"field": 1},
}


def test_a_full_payload_is_read_and_unknown_fields_are_ignored() -> None:
    job = parse_job(PAYLOAD)
    assert (job.id, job.name, job.timeout) == (11, "build", 60)
    assert job.steps == (Step("script", "one\ntwo\n"),)
    assert [(each.key, each.value, each.file, each.masked) for each in job.variables] == [
        ("A", "", False, False),
        ("B", "b", True, True),
    ]
    assert job.source is not None
    assert (job.source.refspecs, job.source.depth) == (("+a:b",), 1)


def test_a_bare_payload_has_defaults() -> None:
    job = parse_job({"id": 1, "token": "t"})
    assert (job.source, job.steps, job.variables, job.timeout) == (None, (), (), 7200)


@pytest.mark.parametrize(
    "broken",
    [
        {"token": "t"},
        {"id": "x", "token": "t"},
        {"id": 1, "token": "t", "steps": 5},
        {"id": 1, "token": "t", "steps": ["a"]},
    ],
)
def test_an_invalid_job_payload_is_rejected(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        parse_job(broken)


def test_the_repr_of_a_job_hides_secrets() -> None:
    text = repr(parse_job(PAYLOAD))
    assert "job-token" not in text
    assert "pw" not in text
    assert "'b'" not in text


@pytest.mark.parametrize(
    ("exact", "sent"),
    [
        ("script_failure", "script_failure"),
        ("job_canceled", "job_canceled"),
        ("runner_interrupted", "runner_system_failure"),
        ("something_new", "unknown_failure"),
    ],
)
def test_only_failure_reasons_known_to_the_server_are_sent(exact: str, sent: str) -> None:
    assert parse_job(PAYLOAD).supported_reason(exact) == sent


@pytest.mark.parametrize(
    ("when", "after_success", "after_failure"),
    [("on_success", True, False), ("on_failure", False, True), ("always", True, True)],
)
def test_a_step_runs_according_to_its_condition(when: str, after_success: bool, after_failure: bool) -> None:
    step = Step("s", "", when)
    assert (step.runs_after(failed=False), step.runs_after(failed=True)) == (after_success, after_failure)
