"""Migration of all services, run by `headrace server up`, `headrace server migrate` and `headrace admin restore`."""

import asyncio
import sys
import time

from nats.errors import Error as NatsError
from nats.js.errors import APIError, ServiceUnavailableError
from pymongo.errors import ConnectionFailure, OperationFailure

from infra.backup.scope import is_restore_interrupted
from infra.local.process import OperatorError
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect
from libs.security.tls import explain_untrusted
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.migration import migrate as migrate_services
from libs.settings import Settings, SettingsError

NOT_ENOUGH_PEERS, NO_CLUSTER = 10005, 10074  # JetStream errors: fewer servers than replicas; not a cluster
AUTHENTICATION_FAILED = 18
NATS_TIMEOUT_SECONDS = 3.0
RETRY_DELAY_SECONDS = 1.0


class ServerNotReady(Exception):
    """The server named in the message is not available yet. The migration is retried."""


def migrate(settings: Settings) -> None:
    """Create or update streams, consumers, collections, indexes and rows. Prints each change.

    Waits up to `settings.wait_seconds` for servers. Raises SettingsError if the operator has to act, or OperatorError
    if a restore is incomplete.
    """
    for line in asyncio.run(_migrate_with_retries(settings)):
        print(line)  # noqa: T201


async def _migrate_with_retries(settings: Settings) -> list[str]:
    """Migrate; retry while a server is not ready. Raises SettingsError after the timeout.

    An interrupted attempt does no harm, because the migration is idempotent.
    """
    deadline = time.monotonic() + settings.wait_seconds
    reported = ""
    while True:
        try:
            return await _migrate_once(settings)
        except ServerNotReady as missing:
            if time.monotonic() >= deadline:
                raise SettingsError(str(missing)) from missing.__cause__
            if str(missing) != reported:
                reported = str(missing)
                sys.stderr.write(f"headrace: {reported} Waiting up to {settings.wait_seconds:g} seconds.\n")
        await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _migrate_once(settings: Settings) -> list[str]:
    services = load_services()
    client = create_mongo_client(settings, "migrate")
    nats = None
    try:
        nats = await connect(settings, "migrate", timeout=NATS_TIMEOUT_SECONDS)
        databases = [get_database(client, settings, service.name) for service in services]
        if await is_restore_interrupted(databases[0]):
            raise OperatorError("A restore into these databases is incomplete; run `headrace admin restore` again.")
        vaults = [create_vault(database, settings) for database in databases]
        return await migrate_services(services, databases, vaults, nats, replicas=settings.stream_replicas)
    except ConnectionFailure as error:
        if reason := explain_untrusted("MongoDB", error):
            raise SettingsError(reason) from error
        raise ServerNotReady("MongoDB does not respond or has no primary.") from error
    except OperationFailure as error:
        if error.code != AUTHENTICATION_FAILED:
            raise
        raise SettingsError("MongoDB rejects the login in HEADRACE_MONGODB_URL.") from error
    except ServiceUnavailableError as error:
        raise ServerNotReady("JetStream is not ready.") from error
    except APIError as error:
        if error.err_code not in {NOT_ENOUGH_PEERS, NO_CLUSTER}:
            raise
        reason = (
            f"NATS cannot store HEADRACE_STREAM_REPLICAS={settings.stream_replicas} copies of an event: "
            f"{error.description}."
        )
        raise (ServerNotReady if error.err_code == NOT_ENOUGH_PEERS else SettingsError)(reason) from error
    except (NatsError, TimeoutError) as error:
        raise ServerNotReady("NATS does not respond.") from error
    finally:
        if nats:
            await nats.close()
        await client.close()
