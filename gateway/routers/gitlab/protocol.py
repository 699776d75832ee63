"""Router, tokens and documentation of the routes of GitLab's runner protocol. Services check JOB- and RUNNER-TOKEN."""

from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel

from contracts.errors import CODES
from gateway.adapters.gitlab.protocol_models import RunnerErrorBody
from gateway.adapters.gitlab.runner_requests import RunnerRoute
from gateway.dependencies import limit_refusals
from gateway.errors import describe_body
from gateway.http.path_prefixes import CompatibleApi
from gateway.routers.prefix_router import PrefixRouter

FORM = "application/x-www-form-urlencoded"
job_token = APIKeyHeader(name="JOB-TOKEN", scheme_name="job", description="the token of a job", auto_error=False)
runner_token = APIKeyHeader(
    name="RUNNER-TOKEN", scheme_name="runner", description="the token of a runner, also in the body", auto_error=False
)
private_token = APIKeyHeader(
    name="PRIVATE-TOKEN", scheme_name="private", description="the token of an administrator", auto_error=False
)
JobToken = Annotated[str | None, Security(job_token)]
RunnerToken = Annotated[str | None, Security(runner_token)]
PrivateToken = Annotated[str | None, Security(private_token)]


def runner_router(prefix: str) -> PrefixRouter:
    return PrefixRouter(
        CompatibleApi.RUNNERS,
        prefix=prefix,
        tags=["Runner protocol"],
        route_class=RunnerRoute,
        dependencies=[Depends(limit_refusals)],
    )


def runner_errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error responses, which contain a text instead of an error code."""
    found = sorted({CODES[code].status for code in (*codes, "SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT")})
    return {status: {"content": describe_body(RunnerErrorBody)} for status in found}


def also_form(model: type[BaseModel]) -> dict[str, Any]:
    """Return the documentation of a body that may also be a form."""
    return {"requestBody": {"content": {FORM: describe_body(model)["application/json"]}}}
