"""`headrace rotate-keys`: a new key signs log-ins; nobody has to log in again."""

import asyncio
import os

from contracts.errors import Refused
from contracts.identity import RotateSigningKeys, VerificationKeys
from infra.events import connected
from infra.local.process import StackError
from libs.messaging import Caller
from libs.settings import Settings


def rotate() -> None:
    settings = Settings.from_environment(os.environ)
    settings.require_servers()
    keys = asyncio.run(_rotate(settings))
    print(f"Log-ins are signed with a new key; {len(keys)} keys verify them.")  # noqa: T201


async def _rotate(settings: Settings) -> list[str]:
    nats = await connected(settings, "rotate-keys")
    try:
        answer = await Caller(nats).tell(RotateSigningKeys())
    except Refused as refused:
        raise StackError(f"identity made no new key: {refused.failure.detail}") from refused
    finally:
        await nats.close()
    return list(VerificationKeys.model_validate_json(answer).keys)
