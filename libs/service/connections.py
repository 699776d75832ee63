"""MongoDB clients and service databases with the settings that every process uses."""

import asyncio
import socket
import sys
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, lock, pool_shared
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.pool_options import PoolOptions
from pymongo.read_concern import ReadConcern

from libs.documents import Document
from libs.security.envelope_encryption import KeyVault, MasterKeys
from libs.security.tls import create_client_context
from libs.settings import Settings

CODEC_OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
CLOSE_TIMEOUT_SECONDS = 1.0  # limit for closing a client
T = TypeVar("T")


async def _wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:
    """Wait like `asyncio.wait_for` of Python 3.12, which awaits in the task of its caller."""
    async with asyncio.timeout(timeout):
        return await awaitable


if sys.version_info < (3, 12):
    # The driver waits on its conditions with `asyncio.wait_for`. In Python 3.11 a cancellation at the wrong moment
    # leaves the condition's lock acquired, and the client hangs permanently.
    lock.wait_for = _wait_for  # type: ignore[assignment,attr-defined]

_driver_create_connection = pool_shared._async_create_connection  # noqa: SLF001  no option exists


async def _create_connection(address: tuple[str, int | None], options: PoolOptions) -> socket.socket:
    """Create a connection as the driver does, but close the socket if the caller is canceled."""
    connecting = asyncio.ensure_future(_driver_create_connection(address, options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close_socket)
        raise


def _close_socket(connecting: "asyncio.Future[socket.socket]") -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


pool_shared._async_create_connection = _create_connection  # noqa: SLF001


def create_mongo_client(settings: Settings, name: str, *, timeout: float = 20.0) -> AsyncMongoClient[Document]:
    """Create the MongoDB client of a process. `timeout`: seconds to wait for the reply to one operation.

    Writes wait for a majority, except in collections with a write concern of their own. The write concern is set on the
    client because transactions use the client's, not the database's; without it a failover could roll back acknowledged
    writes. Writes also wait for the journal, unless the URL says `journal=false`, as for servers of tests, which may
    lose data when they are killed. Raises SettingsError for unusable certificate files.
    """
    is_journaled = parse_qs(urlsplit(settings.mongodb_url).query).get("journal") != ["false"]
    return AsyncMongoClient(
        settings.mongodb_url,
        appname=f"headrace-{name}",
        serverSelectionTimeoutMS=5000,
        connectTimeoutMS=5000,  # with heartbeatFrequencyMS, also the silence after which a server counts as lost
        socketTimeoutMS=int(timeout * 1000),
        waitQueueTimeoutMS=3000,
        heartbeatFrequencyMS=2000,
        maxPoolSize=50,
        tz_aware=True,
        w="majority",
        journal=is_journaled,
        **_tls_options(settings),
    )


def _tls_options(settings: Settings) -> Document:
    """Return the driver's TLS options, which are file names; empty if the URL does not enable TLS."""
    options = parse_qs(urlsplit(settings.mongodb_url).query)
    if "true" not in options.get("tls", options.get("ssl", [])) and not settings.mongodb_url.startswith("mongodb+srv:"):
        return {}
    create_client_context(settings.ca_file, settings.client_certificate)  # raises SettingsError for unusable files
    files = {"tlsCAFile": settings.ca_file, "tlsCertificateKeyFile": settings.client_certificate}
    return {name: str(file) for name, file in files.items() if file}


async def close_client(client: AsyncMongoClient[Document]) -> None:
    """Close the client. An unresponsive server delays this by at most twice CLOSE_TIMEOUT_SECONDS."""
    for _ in range(2):  # the first call removes the sessions, so the second one needs no request to the server
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await client.close()
                return


def get_database(client: AsyncMongoClient[Document], settings: Settings, service: str) -> AsyncDatabase[Document]:
    """Return the service's database with majority reads and writes, so that a failover rolls nothing back."""
    return client.get_database(
        f"{settings.database_prefix}_{service}",
        codec_options=CODEC_OPTIONS,
        read_concern=ReadConcern("majority"),
    )


async def get_server_time(database: AsyncDatabase[Document]) -> datetime:
    """Return the time of the primary server."""
    hello = await database.command("hello", codec_options=CODEC_OPTIONS)
    at: datetime = hello["localTime"]
    return at


def create_vault(database: AsyncDatabase[Document], settings: Settings) -> KeyVault:
    return KeyVault(database, MasterKeys.from_keys(settings.master_keys))
