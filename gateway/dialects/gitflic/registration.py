"""How agents register, as GitFlic tells it."""

from urllib.parse import urlsplit, urlunsplit

from contracts.messages import Message
from contracts.runners import RegistrationInfo as RegistrationInfoAnswer
from gateway.asked import Asked
from gateway.writing import Shape, Writer

REGISTRATION_PATH = "/-/runner/registration"
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
