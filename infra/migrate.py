"""The migration step over all services: run by `up`, by `headrace migrate` and by a Job before an upgrade."""

import asyncio
from importlib import import_module

from nats.js.errors import APIError
from pymongo.errors import ConnectionFailure

from infra.backup.contents import interrupted_restore
from infra.entry import SERVICES
from infra.local.process import StackError
from libs.connections import database_of, mongo, vault_of
from libs.messaging import connect
from libs.migration import migrate as migrate_services
from libs.service import Service
from libs.settings import Settings, SettingsError
from libs.tls import untrusted

TOO_FEW_SERVERS = {10005, 10074}  # no peers for so many copies; no cluster at all


def all_services() -> list[Service]:
    return [import_module(f"services.{name}.app").service for name in SERVICES]


def migrate(settings: Settings) -> None:
    """Make or update streams, consumers, collections and indexes; says what it did."""
    for line in asyncio.run(_migrate(settings)):
        print(line)  # noqa: T201


async def _migrate(settings: Settings) -> list[str]:
    services = all_services()
    client = mongo(settings, "migrate")
    nats = await connect(settings, "migrate")
    try:
        databases = [database_of(client, settings, service.name) for service in services]
        if await interrupted_restore(databases[0]):
            raise StackError("A restore into these databases did not come to its end; run `headrace restore` again.")
        vaults = [vault_of(database, settings) for database in databases]
        return await migrate_services(services, databases, vaults, nats, replicas=settings.stream_replicas)
    except ConnectionFailure as error:
        raise SettingsError(untrusted("MongoDB", error) or "MongoDB does not answer; is it running?") from error
    except APIError as error:
        if error.err_code not in TOO_FEW_SERVERS:
            raise
        raise SettingsError(
            f"NATS cannot keep HEADRACE_STREAM_REPLICAS={settings.stream_replicas} copies of an event: "
            f"{error.description}."
        ) from error
    finally:
        await nats.close()
        await client.close()
