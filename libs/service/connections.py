"""The database client and the service databases, opened the same way everywhere."""

import asyncio
import socket
import sys
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, lock, pool_shared
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from libs.security.envelope_encryption import KeyVault, MasterKeys
from libs.security.tls import create_client_context
from libs.settings import Settings

Document = dict[str, Any]
CODEC_OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
CLOSE_TIMEOUT_SECONDS = 1.0  # seconds for a server to hear that we leave
T = TypeVar("T")


async def _wait_for(wanted: Awaitable[T], timeout: float | None) -> T:
    """As Python 3.12 does it: in the same task."""
    async with asyncio.timeout(timeout):
        return await wanted


if sys.version_info < (3, 12):
    # The driver waits for its conditions so. If 3.11's is cancelled in the wrong moment, the condition's lock is
    # taken and never given back: while the database is away, one cancelled task makes the client useless for ever.
    lock.wait_for = _wait_for  # type: ignore[assignment,attr-defined]

_driver_create_connection = pool_shared._async_create_connection


async def _create_connection(address: Any, options: Any) -> socket.socket:
    """As the driver does it; where it is cancelled it would leave its socket to the garbage collector."""
    connecting = asyncio.ensure_future(_driver_create_connection(address, options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(pool_shared._close_late_socket)
        raise


pool_shared._async_create_connection = _create_connection


def create_mongo_client(settings: Settings, name: str, *, timeout: float = 20.0) -> AsyncMongoClient[Document]:
    """`patience`: seconds for the answer to one question.

    All writes wait for a majority, those of transactions too: a transaction takes the concern of the client, not of the
    database, and without it a fail-over could take back what was acknowledged.
    """
    return AsyncMongoClient(
        settings.mongodb_url,
        appname=f"headrace-{name}",
        serverSelectionTimeoutMS=3000,
        connectTimeoutMS=2000,
        socketTimeoutMS=int(timeout * 1000),
        waitQueueTimeoutMS=3000,
        heartbeatFrequencyMS=2000,
        maxPoolSize=50,
        tz_aware=True,
        w="majority",
        journal=True,
        **_tls_options(settings),
    )


def _tls_options(settings: Settings) -> dict[str, Any]:
    """Only for an address that asks for TLS; the driver wants files."""
    asked = parse_qs(urlsplit(settings.mongodb_url).query)
    if "true" not in asked.get("tls", asked.get("ssl", [])) and not settings.mongodb_url.startswith("mongodb+srv:"):
        return {}
    create_client_context(settings.ca_file, settings.client_certificate)  # says in words what is wrong with them
    files = {"tlsCAFile": settings.ca_file, "tlsCertificateKeyFile": settings.client_certificate}
    return {name: str(file) for name, file in files.items() if file}


async def close_client(client: AsyncMongoClient[Document]) -> None:
    """Close the client; a server that hangs keeps nobody from leaving."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()


def get_database(client: AsyncMongoClient[Document], settings: Settings, service: str) -> AsyncDatabase[Document]:
    """Majority writes and reads: what was answered is not taken back by a fail-over."""
    return client.get_database(
        f"{settings.database_prefix}_{service}",
        codec_options=CODEC_OPTIONS,
        read_concern=ReadConcern("majority"),
    )


async def get_server_time(database: AsyncDatabase[Document]) -> datetime:
    """Return the time of the server that takes writes."""
    hello = await database.command("hello", codec_options=CODEC_OPTIONS)
    at: datetime = hello["localTime"]
    return at


def create_vault(database: AsyncDatabase[Document], settings: Settings) -> KeyVault:
    return KeyVault(database, MasterKeys.from_keys(settings.master_keys))
