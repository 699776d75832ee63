"""`headrace admin rotate-keys`: request a new signing key from the identity service."""

import asyncio
import os

from contracts.errors import RequestRejected
from contracts.identity import RotateSigningKeys, VerificationKeys
from infra.event_stream import connect_to_nats
from infra.local.process import OperatorError
from libs.messaging.request_reply import MessageClient
from libs.settings import Settings


def rotate_signing_keys() -> None:
    settings = Settings.from_environment(os.environ)
    settings.require_servers()
    keys = asyncio.run(_request_rotation(settings))
    print(f"New tokens are signed with a new key. {len(keys)} keys are valid for verification.")  # noqa: T201


async def _request_rotation(settings: Settings) -> list[str]:
    nats = await connect_to_nats(settings, "rotate-keys")
    try:
        answer = await MessageClient(nats).send(RotateSigningKeys())
    except RequestRejected as refused:
        raise OperatorError(f"The identity service did not create a new key: {refused.failure.detail}") from refused
    finally:
        await nats.close()
    return list(VerificationKeys.model_validate_json(answer).keys)
