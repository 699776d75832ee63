"""The migration step over all services: run by `up`, by `headrace migrate` and by a Job before an upgrade."""

import asyncio
import sys
import time
from importlib import import_module

from nats.errors import Error as NatsError
from nats.js.errors import APIError, ServiceUnavailableError
from pymongo.errors import ConnectionFailure, OperationFailure

from infra.backup.contents import interrupted_restore
from infra.entry import SERVICES
from infra.local.process import StackError
from libs.connections import database_of, mongo, vault_of
from libs.messaging import connect
from libs.migration import migrate as migrate_services
from libs.service import Service
from libs.settings import Settings, SettingsError
from libs.tls import untrusted

PEERS_MISSING, NO_CLUSTER = 10005, 10074  # too few servers for so many copies, and no cluster at all
LOGIN_REFUSED = 18  # AuthenticationFailed
PATIENCE = 3.0  # seconds for one look at NATS
PAUSE = 1.0


class NotYet(Exception):
    """What is missing and may come by itself, in a sentence."""


def all_services() -> list[Service]:
    return [import_module(f"services.{name}.app").service for name in SERVICES]


def migrate(settings: Settings) -> None:
    """Make or update streams, consumers, collections and indexes; says what it did.

    Waits for servers that are about to come. Raises SettingsError with what is to be mended.
    """
    for line in asyncio.run(_patiently(settings)):
        print(line)  # noqa: T201


async def _patiently(settings: Settings) -> list[str]:
    """A try that broke off is harmless, as the whole may be done twice."""
    deadline = time.monotonic() + settings.wait_seconds
    told = ""
    while True:
        try:
            return await _migrate(settings)
        except NotYet as missing:
            if time.monotonic() >= deadline:
                raise SettingsError(str(missing)) from missing.__cause__
            if str(missing) != told:
                told = str(missing)
                sys.stderr.write(f"headrace: {told} It is waited for, {settings.wait_seconds:g} seconds at most.\n")
        await asyncio.sleep(PAUSE)


async def _migrate(settings: Settings) -> list[str]:
    services = all_services()
    client = mongo(settings, "migrate")
    nats = None
    try:
        nats = await connect(settings, "migrate", patience=PATIENCE)
        databases = [database_of(client, settings, service.name) for service in services]
        if await interrupted_restore(databases[0]):
            raise StackError("A restore into these databases did not come to its end; run `headrace restore` again.")
        vaults = [vault_of(database, settings) for database in databases]
        return await migrate_services(services, databases, vaults, nats, replicas=settings.stream_replicas)
    except ConnectionFailure as error:
        if reason := untrusted("MongoDB", error):
            raise SettingsError(reason) from error
        raise NotYet("MongoDB does not answer, or has no primary; is it running?") from error
    except OperationFailure as error:
        if error.code != LOGIN_REFUSED:
            raise
        raise SettingsError("MongoDB refuses the login of HEADRACE_MONGODB_URL.") from error
    except ServiceUnavailableError as error:
        raise NotYet("JetStream of NATS is not ready.") from error
    except APIError as error:
        if error.err_code not in {PEERS_MISSING, NO_CLUSTER}:
            raise
        reason = (
            f"NATS cannot keep HEADRACE_STREAM_REPLICAS={settings.stream_replicas} copies of an event: "
            f"{error.description}."
        )
        raise (NotYet if error.err_code == PEERS_MISSING else SettingsError)(reason) from error
    except (NatsError, TimeoutError) as error:
        raise NotYet("NATS does not answer; is it running?") from error
    finally:
        if nats:
            await nats.close()
        await client.close()
