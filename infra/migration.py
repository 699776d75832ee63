"""The migration step over all services: run by `up`, by `headrace migrate` and by a Job before an upgrade."""

import asyncio
import sys
import time
from importlib import import_module

from nats.errors import Error as NatsError
from nats.js.errors import APIError, ServiceUnavailableError
from pymongo.errors import ConnectionFailure, OperationFailure

from infra.backup.scope import is_restore_interrupted
from infra.entrypoints import SERVICES
from infra.local.process import OperatorError
from libs.messaging.request_reply import connect
from libs.security.tls import explain_untrusted
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from libs.service.migration import migrate as migrate_services
from libs.settings import Settings, SettingsError

NOT_ENOUGH_PEERS, NO_CLUSTER = 10005, 10074  # too few servers for so many copies, and no cluster at all
AUTHENTICATION_FAILED = 18  # AuthenticationFailed
NATS_TIMEOUT_SECONDS = 3.0  # seconds for one look at NATS
RETRY_DELAY_SECONDS = 1.0


class ServerNotReady(Exception):
    """What is missing and may come by itself, in a sentence."""


def load_services() -> list[Service]:
    return [import_module(f"services.{name}.app").service for name in SERVICES]


def migrate(settings: Settings) -> None:
    """Make or update streams, consumers, collections and indexes; says what it did.

    Waits for servers that are about to come. Raises SettingsError with what is to be mended.
    """
    for line in asyncio.run(_migrate_with_retries(settings)):
        print(line)  # noqa: T201


async def _migrate_with_retries(settings: Settings) -> list[str]:
    """A try that broke off is harmless, as the whole may be done twice."""
    deadline = time.monotonic() + settings.wait_seconds
    told = ""
    while True:
        try:
            return await _migrate_once(settings)
        except ServerNotReady as missing:
            if time.monotonic() >= deadline:
                raise SettingsError(str(missing)) from missing.__cause__
            if str(missing) != told:
                told = str(missing)
                sys.stderr.write(f"headrace: {told} It is waited for, {settings.wait_seconds:g} seconds at most.\n")
        await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _migrate_once(settings: Settings) -> list[str]:
    services = load_services()
    client = create_mongo_client(settings, "migrate")
    nats = None
    try:
        nats = await connect(settings, "migrate", timeout=NATS_TIMEOUT_SECONDS)
        databases = [get_database(client, settings, service.name) for service in services]
        if await is_restore_interrupted(databases[0]):
            raise OperatorError("A restore into these databases did not come to its end; run `headrace restore` again.")
        vaults = [create_vault(database, settings) for database in databases]
        return await migrate_services(services, databases, vaults, nats, replicas=settings.stream_replicas)
    except ConnectionFailure as error:
        if reason := explain_untrusted("MongoDB", error):
            raise SettingsError(reason) from error
        raise ServerNotReady("MongoDB does not answer, or has no primary; is it running?") from error
    except OperationFailure as error:
        if error.code != AUTHENTICATION_FAILED:
            raise
        raise SettingsError("MongoDB refuses the login of HEADRACE_MONGODB_URL.") from error
    except ServiceUnavailableError as error:
        raise ServerNotReady("JetStream of NATS is not ready.") from error
    except APIError as error:
        if error.err_code not in {NOT_ENOUGH_PEERS, NO_CLUSTER}:
            raise
        reason = (
            f"NATS cannot keep HEADRACE_STREAM_REPLICAS={settings.stream_replicas} copies of an event: "
            f"{error.description}."
        )
        raise (ServerNotReady if error.err_code == NOT_ENOUGH_PEERS else SettingsError)(reason) from error
    except (NatsError, TimeoutError) as error:
        raise ServerNotReady("NATS does not answer; is it running?") from error
    finally:
        if nats:
            await nats.close()
        await client.close()
