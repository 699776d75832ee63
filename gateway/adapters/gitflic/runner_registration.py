"""Runner registration in GitFlic's API."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, model_validator

from contracts.messages import Message
from contracts.runners import RegistrationInfo as RegistrationInfoAnswer
from gateway.adapters.gitlab.protocol_models import RegisterRunnerRequest
from gateway.forwarding.serializers import ResponseContext, ResponseModel, Serializer
from gateway.http.json_request import JsonText
from gateway.schemas.samples import UUID

REGISTRATION_PATH = "/-/runner/registration"
FIELD_ALIASES = {"registrationToken": "token", "tags": "tag_list", "runUntagged": "run_untagged", "isLocked": "locked"}
INFO_FIELDS = ("name", "version", "platform", "architecture", "executor")
DEFAULT_PORTS = {"http": 80, "https": 443}


class RegistrationInfo(ResponseModel):
    id: str = Field(description="always `1`", examples=["1"])
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


class GitFlicRegistrationRequest(RegisterRunnerRequest):
    """A registration as in GitLab's protocol, which may also use GitFlic's names of fields."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, sent: Any) -> Any:
        if not isinstance(sent, JsonText):
            return sent
        renamed = {
            gitlab_name: sent.members[name] for name, gitlab_name in FIELD_ALIASES.items() if name in sent.members
        }
        info = {name: sent.members[name] for name in INFO_FIELDS if name in sent.members}
        return {"info": info, **renamed, **sent.members}
