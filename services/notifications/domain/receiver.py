"""The receiver aggregate: a URL to which notifications about the builds of a project are sent."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urlsplit

from contracts.messages import Payload
from contracts.notifications import (
    MAX_SIGNING_SECRET_LENGTH,
    DeleteReceiver,
    Occasion,
    ReceiverChanged,
    ReceiverCreated,
    ReceiverDeleted,
    ReceiverEvent,
    ReceiverKind,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.notifications.domain.internal_commands import AddReceiver, UpdateReceiver

SECRET_PREFIX = "whsec_"  # noqa: S105  prefix of secrets in base64, as Standard Webhooks specifies them
MIN_SECRET_LENGTH = 16
SECRET_BYTES = range(24, 65)
DEFAULT_EVENTS = (Occasion.FAILED, Occasion.FIXED)

ReceiverCommand = AddReceiver | UpdateReceiver | DeleteReceiver


@dataclass(frozen=True, slots=True)
class Receiver:
    """State of a receiver. `settings` is the event that would create it in its current state."""

    settings: ReceiverCreated | None = None
    deleted: bool = False


def decide(receiver: Receiver, command: ReceiverCommand) -> list[ReceiverEvent]:
    settings = receiver.settings
    match command:
        case AddReceiver() if receiver == Receiver():
            return [ReceiverCreated(**vars(command))]
        case AddReceiver() if settings:
            raise RequestRejected("CONFLICT", "This receiver already exists.")
        case _ if settings is None or settings.project_id != command.project_id:
            raise RequestRejected("RECEIVER_NOT_FOUND")
        case UpdateReceiver():
            changed = {
                name: value
                for name, value in vars(command).items()
                if value is not None and value != getattr(settings, name)
            }
            ids = {"receiver_id": settings.receiver_id, "project_id": settings.project_id}
            return [ReceiverChanged(**ids, **changed)] if changed else []
        case DeleteReceiver():
            return [ReceiverDeleted(receiver_id=settings.receiver_id, project_id=settings.project_id)]
        case _:
            raise RequestRejected("RECEIVER_NOT_FOUND")


def evolve(receiver: Receiver, event: ReceiverEvent) -> Receiver:
    match event:
        case ReceiverCreated():
            return Receiver(event)
        case ReceiverChanged():
            return Receiver(receiver.settings.replace(**changed_fields(event)) if receiver.settings else None)
        case ReceiverDeleted():
            return Receiver(deleted=True)
        case _:
            assert_never(event)


def changed_fields(event: ReceiverChanged) -> Payload:
    """Return the fields that the event sets, with their values as Python objects."""
    return {name: getattr(event, name) for name in event.model_fields_set}


def validate_url(text: str | None) -> tuple[str, str]:
    """Return a URL, and its server: scheme, host and port.

    Raises RequestRejected with RECEIVER_URL_REQUIRED or RECEIVER_URL_INVALID.
    """
    url = (text or "").strip()
    if not url:
        raise RequestRejected("RECEIVER_URL_REQUIRED")
    if not url.isprintable() or any(character in url for character in ' #\\"<>`'):
        raise RequestRejected("RECEIVER_URL_INVALID")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RequestRejected("RECEIVER_URL_INVALID") from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise RequestRejected("RECEIVER_URL_INVALID")
    host = f"[{host}]" if ":" in host else host
    return url, f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def validate_secret(kind: ReceiverKind, text: str | None) -> str:
    """Return the secret of a webhook, or an empty text for chat messages, which must not have a secret.

    Raises RequestRejected with RECEIVER_SECRET_INVALID.
    """
    secret = text or ""
    is_needed = kind is ReceiverKind.WEBHOOK
    if bool(secret) is not is_needed or (is_needed and not is_valid_secret(secret)):
        raise RequestRejected("RECEIVER_SECRET_INVALID")
    return secret


def is_valid_secret(secret: str) -> bool:
    if not secret.isascii() or not secret.isprintable() or len(secret) > MAX_SIGNING_SECRET_LENGTH:
        return False
    try:
        key = signing_key(secret)
    except binascii.Error:
        return False
    return len(key) in SECRET_BYTES if secret.startswith(SECRET_PREFIX) else len(key) >= MIN_SECRET_LENGTH


def signing_key(secret: str) -> bytes:
    """Return the key that signs webhooks. Raises binascii.Error if the secret is not base64 after SECRET_PREFIX."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    return secret.encode() if encoded == secret else base64.b64decode(encoded.encode(), validate=True)


def validate_events(events: Sequence[Occasion] | None) -> tuple[Occasion, ...]:
    """Return the events in the order of Occasion, each once. None becomes DEFAULT_EVENTS.

    Raises RequestRejected with RECEIVER_EVENTS_INVALID for an empty list.
    """
    if events is None:
        return DEFAULT_EVENTS
    if not events:
        raise RequestRejected("RECEIVER_EVENTS_INVALID")
    return tuple(event for event in Occasion if event in events)


receiver_decider = Decider[ReceiverCommand, Receiver, ReceiverEvent](
    commands=(AddReceiver, UpdateReceiver, DeleteReceiver),
    stream=lambda command: f"receiver-{command.receiver_id}",
    initial=Receiver(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddReceiver,),
)
