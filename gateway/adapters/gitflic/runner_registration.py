"""Runner registration in GitFlic's API."""

from urllib.parse import urlsplit, urlunsplit

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contracts.messages import Message
from contracts.runners import RegistrationInfo as RegistrationInfoAnswer
from gateway.adapters.gitlab import runner_api
from gateway.context import AppState
from gateway.forwarding.serializers import ResponseContext, ResponseModel, Serializer
from gateway.schemas.samples import UUID

REGISTRATION_PATH = "/-/runner/registration"
FIELD_ALIASES = {"registrationToken": "token", "tags": "tag_list", "runUntagged": "run_untagged", "isLocked": "locked"}
INFO_FIELDS = ("name", "version", "platform", "architecture", "executor")
DEFAULT_PORTS = {"http": 80, "https": 443}


class RegistrationInfo(ResponseModel):
    id: str = Field(description="always `1`", examples=[UUID])
    registrationUrl: str = Field(
        description="URL for registering agents, always with an explicit port",
        examples=["https://ci.example.org:443/-/runner/registration"],
    )
    registrationToken: str = Field(
        description="token for registering runners, valid until it is reset",
        examples=[UUID],
    )


def add_default_port(url: str) -> str:
    """Return the URL with an explicit port: GitFlic's agents do not add a default port."""
    parts = urlsplit(url)
    if parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{DEFAULT_PORTS[parts.scheme]}")
    return urlunsplit(parts).rstrip("/")


def _write_registration_info(answer: bytes, context: ResponseContext, _message: Message) -> bytes:
    registration = RegistrationInfoAnswer.model_validate_json(answer)
    return (
        RegistrationInfo(
            id=registration.id,
            registrationUrl=add_default_port(context.url) + REGISTRATION_PATH,
            registrationToken=registration.registration_token,
        )
        .model_dump_json()
        .encode()
    )


REGISTRATION_INFO = Serializer(RegistrationInfo, _write_registration_info)


async def register_runner(app_state: AppState, request: Request) -> Response:
    """Register a runner as GitLab's `POST /runners` does, but accept GitFlic's field names as well."""
    sent = await runner_api.read_fields(request)
    renamed = {gitlab_name: sent[name] for name, gitlab_name in FIELD_ALIASES.items() if name in sent}
    info = {name: sent[name] for name in INFO_FIELDS if name in sent}
    registration = await runner_api.send_registration(app_state, request, {"info": info, **renamed, **sent})
    return JSONResponse(registration.model_dump(mode="json"), 201)
