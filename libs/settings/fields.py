"""Types of the settings' values, with the checks that their texts must pass."""

import base64
import binascii
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress

Network = IPv4Network | IPv6Network
PUBLIC: Literal["public"] = "public"  # stands for all public addresses in a list of networks
RepositoryNetwork = Network | Literal["public"]


class MailSecurity(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_integer(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _parse_networks(value: object) -> Any:
    try:
        return tuple(map(ip_network, value)) if isinstance(value, list) else value
    except ValueError as error:
        raise ValueError(f"must be comma-separated networks such as 10.0.0.0/8: {error}") from None


def _parse_repository_networks(value: object) -> object:
    if not isinstance(value, list):
        return value
    networks = _parse_networks([text for text in value if text != PUBLIC])
    return (*networks, PUBLIC) if PUBLIC in value else networks


def _parse_keys(value: object) -> object:
    if not isinstance(value, list):
        return value
    try:
        keys = tuple(base64.b64decode(key, validate=True) for key in value)
    except binascii.Error:
        keys = (b"",)
    if any(len(key) != 32 for key in keys):
        raise ValueError(
            "must be 32 bytes in base64 (create one with `openssl rand -base64 32`); "
            "older keys may follow, separated by commas"
        )
    return keys


def _check_http_url(url: str) -> str:
    return _check_scheme(url, "http", "https").rstrip("/")


def _check_issuer(url: str) -> str:
    """Check the URL of an OpenID provider. A slash at the end belongs to the issuer's name and is not removed."""
    if url.partition("?")[1] or url.partition("#")[1]:
        raise ValueError("must have no query and no fragment")
    return _check_scheme(url, "http", "https")


def _check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    if "openid" not in scopes:
        raise ValueError("must contain openid")
    return scopes


def _check_mongodb_url(url: str) -> str:
    return _check_scheme(url, "mongodb", "mongodb+srv")


def _check_scheme(url: str, *schemes: str) -> str:
    if url and url.partition("://")[0] not in schemes:
        raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _check_nats_url(url: str) -> str:
    try:
        _ = url and NatsAddress.parse(url)
    except InvalidNatsAddress as error:
        raise ValueError(str(error)) from None
    return url


Nodes = Annotated[Literal[1, 3, 5], BeforeValidator(_parse_integer)]  # an even number would not tolerate more failures
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=1, le=10**9)]
LongDelay = Annotated[float, Field(ge=0, le=10**9)]
Days = Annotated[int, Field(ge=0, le=36_500)]
Limit = Annotated[int, Field(ge=0, le=10**9)]  # 0: no limit
Count = Annotated[int, Field(ge=1, le=10**9)]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
HttpUrl = Annotated[str, AfterValidator(_check_http_url)]
IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]
Secret = Annotated[str, Field(repr=False)]  # also read from the file that <variable>_FILE names
MongoUrl = Annotated[Secret, AfterValidator(_check_mongodb_url)]
NatsUrl = Annotated[Secret, AfterValidator(_check_nats_url)]
Keys = Annotated[tuple[bytes, ...], BeforeValidator(_parse_keys), BeforeValidator(_split)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_parse_networks), BeforeValidator(_split)]
RepositoryNetworks = Annotated[
    tuple[RepositoryNetwork, ...], BeforeValidator(_parse_repository_networks), BeforeValidator(_split)
]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Scopes = Annotated[tuple[str, ...], AfterValidator(_check_scopes), BeforeValidator(_split)]
