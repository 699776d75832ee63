"""How agents register, as GitFlic tells it."""

from urllib.parse import urlsplit, urlunsplit

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.messages import Message
from contracts.runners import RegistrationInfo as RegistrationInfoAnswer
from gateway.adapters.gitlab import runner_api
from gateway.context import AppState, RequestContext
from gateway.framework.serializers import Shape, Writer

REGISTRATION_PATH = "/-/runner/registration"
FIELD_ALIASES = {"registrationToken": "token", "tags": "tag_list", "runUntagged": "run_untagged", "isLocked": "locked"}
INFO_FIELDS = ("name", "version", "platform", "architecture", "executor")
DEFAULT_PORTS = {"http": 80, "https": 443}


class RegistrationInfo(Shape):
    id: str
    registrationUrl: str  # noqa: N815  GitFlic's own name
    registrationToken: str  # noqa: N815


def add_default_port(url: str) -> str:
    """GitFlic's agents lose a port that is not written out."""
    parts = urlsplit(url)
    if parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{DEFAULT_PORTS[parts.scheme]}")
    return urlunsplit(parts).rstrip("/")


def _write_registration_info(answer: bytes, asked: RequestContext, _message: Message) -> bytes:
    known = RegistrationInfoAnswer.model_validate_json(answer)
    return (
        RegistrationInfo(
            id=known.id,
            registrationUrl=add_default_port(asked.state.settings.url) + REGISTRATION_PATH,
            registrationToken=known.registration_token,
        )
        .model_dump_json()
        .encode()
    )


REGISTRATION_INFO = Writer(RegistrationInfo, _write_registration_info)


async def register_runner(world: AppState, scope: Scope, receive: Receive) -> Response:
    """What `registrationUrl` names: GitLab's registration, also with the names that GitFlic gives to the fields."""
    sent = await runner_api.read_fields(scope, receive)
    renamed = {theirs: sent[own] for own, theirs in FIELD_ALIASES.items() if own in sent}
    info = {name: sent[name] for name in INFO_FIELDS if name in sent}
    answer = await runner_api.send_registration(world, scope, {"info": info, **renamed, **sent})
    return JSONResponse(answer.model_dump(mode="json"), 201)
