"""Responses of the server, and the error that a failed request raises."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

ABORTED_JOB_STATUSES = frozenset({"canceled", "failed"})


class RequestFailed(Exception):
    """The server rejected a request, or could not be reached (status 0)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (status {status})")
        self.status = status


@dataclass(frozen=True, slots=True)
class RunnerIdentity:
    id: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobOffer:
    status: int
    payload: Mapping[str, Any] | None
    last_update: str | None


@dataclass(frozen=True, slots=True)
class JobResponse:
    """The response to a log or state update of a job."""

    status: int
    job_status: str
    stored_bytes: int | None  # bytes of the log that the server has; None: not in the response
    interval_seconds: float | None  # pause between log updates that the server requests

    @property
    def is_aborted(self) -> bool:
        """Whether the server accepts no more updates of the job."""
        return self.status in (403, 404) or self.job_status in ABORTED_JOB_STATUSES


def to_error(response: httpx.Response) -> RequestFailed:
    """Return an error response as an exception, with the server's message if there is one."""
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = response.reason_phrase
    return RequestFailed(response.status_code, message if isinstance(message, str) else json.dumps(message))


def to_job_response(response: httpx.Response) -> JobResponse:
    stored = re.fullmatch(r"\d+-(\d+)", response.headers.get("Range", ""))
    interval = response.headers.get("X-GitLab-Trace-Update-Interval", "")
    return JobResponse(
        status=response.status_code,
        job_status=response.headers.get("Job-Status", ""),
        stored_bytes=int(stored[1]) if stored else None,
        interval_seconds=float(interval) if interval.isdigit() and int(interval) > 0 else None,
    )
