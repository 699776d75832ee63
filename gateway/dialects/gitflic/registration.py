"""How agents register, as GitFlic tells it."""

from urllib.parse import urlsplit, urlunsplit

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.messages import Message
from contracts.runners import RegistrationInfo as RegistrationInfoAnswer
from gateway.asked import Asked, World
from gateway.dialects import gitlab_runner
from gateway.writing import Shape, Writer

REGISTRATION_PATH = "/-/runner/registration"
NAMES = {"registrationToken": "token", "tags": "tag_list", "runUntagged": "run_untagged", "isLocked": "locked"}
ABOUT_ITSELF = ("name", "version", "platform", "architecture", "executor")
PORTS = {"http": 80, "https": 443}


class RegistrationInfo(Shape):
    id: str
    registrationUrl: str  # noqa: N815  GitFlic's own name
    registrationToken: str  # noqa: N815


def with_port(url: str) -> str:
    """GitFlic's agents lose a port that is not written out."""
    parts = urlsplit(url)
    if parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{PORTS[parts.scheme]}")
    return urlunsplit(parts).rstrip("/")


def _registration_info(answer: bytes, asked: Asked, _message: Message) -> bytes:
    known = RegistrationInfoAnswer.model_validate_json(answer)
    return (
        RegistrationInfo(
            id=known.id,
            registrationUrl=with_port(asked.world.settings.url) + REGISTRATION_PATH,
            registrationToken=known.registration_token,
        )
        .model_dump_json()
        .encode()
    )


REGISTRATION_INFO = Writer(RegistrationInfo, _registration_info)


async def register(world: World, scope: Scope, receive: Receive) -> Response:
    """What `registrationUrl` names: GitLab's registration, also with the names that GitFlic gives to the fields."""
    sent = await gitlab_runner.members(scope, receive)
    renamed = {theirs: sent[own] for own, theirs in NAMES.items() if own in sent}
    info = {name: sent[name] for name in ABOUT_ITSELF if name in sent}
    answer = await gitlab_runner.registered(world, scope, {"info": info, **renamed, **sent})
    return JSONResponse(answer.model_dump(mode="json"), 201)
