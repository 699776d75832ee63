"""Checks of MongoDB: server, durability, disk space, row versions, indexes, parked events and master keys."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from math import inf

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, OperationFailure, ServerSelectionTimeoutError

from infra.backup.scope import is_restore_interrupted
from infra.doctor.finding import Finding
from libs.documents import Document
from libs.eventstore.indexes import find_differing_indexes
from libs.projections.schema import list_indexes
from libs.reactions.parking import ParkedEvents
from libs.retention.storage_sizes import estimate_daily_growth, measure_collections, measure_disk
from libs.security.envelope_encryption import DecryptionFailed, MasterKeyMissing, MasterKeys
from libs.service.connections import CODEC_OPTIONS, get_database, get_server_time
from libs.service.declaration import Service
from libs.settings import Settings, SettingsError

MIN_MONGODB_VERSION = (6, 0)
MAX_CLOCK_SKEW_SECONDS = 5.0  # limit of the difference between this machine's clock and MongoDB's; more is a finding
MAX_TRANSACTION_SECONDS = 5  # a longer transaction timeout in MongoDB is a finding
MIN_FREE_RATIO = 0.05  # minimum free part of the disk; less is a finding
MIN_DAYS_UNTIL_FULL = 30  # minimum at the growth of the last week; fewer days are a finding
MAX_LISTED_SIZES = 3
MAX_LISTED_INDEXES = 5  # number of indexes that a finding names
UNAUTHORIZED_CODES = {13, 18}
FATAL_CHECKS = {"mongodb", "mongodb.replica_set"}  # if one of these fails, other database checks are skipped
UNREACHABLE_CONSEQUENCE = "It stores all data. No service responds without it."
MIGRATE_REMEDY = "Run `headrace server migrate`; services can keep running."


def invalid_setting_finding(error: SettingsError) -> Finding:
    return Finding("mongodb", str(error), UNREACHABLE_CONSEQUENCE, "Correct the setting.")


async def check_server(client: AsyncMongoClient[Document]) -> AsyncIterator[Finding]:
    """Check connection, replica set, version and clock. Stop at the first finding of FATAL_CHECKS."""
    try:
        before = datetime.now(UTC)
        hello = await client.admin.command("hello", codec_options=CODEC_OPTIONS)
        after = datetime.now(UTC)
    except ServerSelectionTimeoutError:
        yield Finding(
            "mongodb",
            "MongoDB is not reachable, or has no primary.",
            UNREACHABLE_CONSEQUENCE,
            "Start it, check with rs.status() whether a primary was elected, and check the URL in "
            "HEADRACE_MONGODB_URL.",
        )
        return
    except (OperationFailure, ConfigurationError) as error:
        yield Finding(
            "mongodb",
            f"MongoDB rejects the login or the URL ({type(error).__name__}).",
            UNREACHABLE_CONSEQUENCE,
            "Correct user, password and authSource in HEADRACE_MONGODB_URL.",
        )
        return
    if "setName" not in hello:
        yield Finding(
            "mongodb.replica_set",
            "MongoDB is not a replica set.",
            "Transactions and change streams require a replica set, which can have one member. Nothing can be "
            "recorded.",
            "Start mongod with --replSet and run rs.initiate() once.",
        )
        return
    version = tuple((await client.server_info())["versionArray"][:2])
    if version < MIN_MONGODB_VERSION:
        yield Finding(
            "mongodb.version",
            f"MongoDB has version {version[0]}.{version[1]}.",
            "Headrace requires version 6.0 or newer.",
            "Upgrade MongoDB, one major version at a time.",
        )
    middle = before + (after - before) / 2
    if abs(skew := (hello["localTime"] - middle).total_seconds()) > MAX_CLOCK_SKEW_SECONDS:
        yield Finding(
            "mongodb.clock",
            f"MongoDB's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's.",
            "Leases and sign-ins depend on its clock.",
            "Synchronize all machines with the same time servers (NTP).",
        )


async def check_durability(client: AsyncMongoClient[Document], settings: Settings) -> AsyncIterator[Finding]:
    """Check that a majority acknowledges a write, which matches no document, and check the transaction timeout."""
    nothing = {"q": {"_id": "doctor"}, "u": {"$set": {"seen": True}}}
    concern = {"w": "majority", "j": True, "wtimeout": 4000}
    database = client[settings.database("identity")]
    try:
        answer = await database.command("update", "doctor", updates=[nothing], writeConcern=concern)
    except OperationFailure as error:
        if error.code in UNAUTHORIZED_CODES:
            yield _permission_finding("mongodb.rights", f"may not write to {database.name}")
            return
        answer = {"writeConcernError": {}}
    if "writeConcernError" in answer:
        yield Finding(
            "mongodb.majority",
            "No majority of the replica set acknowledges writes.",
            "Every command waits for a majority, so that a failover loses nothing. All commands now fail with "
            "SERVICE_TIMEOUT.",
            "See rs.status(). Start the missing members, or remove them permanently.",
        )
    try:
        limit = (await client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1))[
            "transactionLifetimeLimitSeconds"
        ]
    except OperationFailure:
        return  # the login has no permission to read this parameter
    if limit > MAX_TRANSACTION_SECONDS:
        yield Finding(
            "mongodb.transactions",
            f"MongoDB aborts an abandoned transaction only after {limit} s.",
            "The documents of a process killed inside a transaction stay locked for that time. Normal transactions "
            "take milliseconds.",
            "On every member: --setParameter transactionLifetimeLimitSeconds=3",
        )


def _permission_finding(check: str, what: str) -> Finding:
    return Finding(
        check,
        f"The user in HEADRACE_MONGODB_URL {what}.",
        "Every service reads and writes its own database.",
        "Grant the user the role readWrite on the databases of the services.",
    )


async def check_contents(
    client: AsyncMongoClient[Document], settings: Settings, services: Sequence[Service]
) -> AsyncIterator[Finding]:
    databases = {service.name: get_database(client, settings, service.name) for service in services}
    if await is_restore_interrupted(databases[services[0].name]):
        yield Finding(
            "restore",
            "A restore is running or was interrupted.",
            "The databases are incomplete, and services wait for the end of the restore.",
            "If no restore is running, run `headrace admin restore` again with the same file.",
        )
        return
    for service in services:
        async for finding in _check_schema(service, databases[service.name]):
            yield finding
        async for finding in _check_parked_events(service, databases[service.name]):
            yield finding


async def _check_schema(service: Service, database: AsyncDatabase[Document]) -> AsyncIterator[Finding]:
    built = {view["_id"]: view["version"] async for view in database["views"].find({})}
    stale = [category.name for category in service.categories if built.get(category.name, 0) < category.row_version]
    if stale:
        yield Finding(
            f"rows.{service.name}",
            f"The rows of {', '.join(stale)} do not exist in the version of this release.",
            f"The service {service.name} waits for them and is not ready.",
            MIGRATE_REMEDY,
        )
    differing = await find_differing_indexes(database, list(list_indexes(service)))
    if differing and not stale:
        yield Finding(
            f"indexes.{service.name}",
            f"{len(differing)} indexes of {service.name} are missing or differ from their declaration: "
            f"{', '.join(map(str, differing[:MAX_LISTED_INDEXES]))}"
            f"{' ...' if len(differing) > MAX_LISTED_INDEXES else ''}.",
            "Lists may read whole collections, expired documents may stay, and duplicates may be stored.",
            MIGRATE_REMEDY,
        )


async def _check_parked_events(service: Service, database: AsyncDatabase[Document]) -> AsyncIterator[Finding]:
    if parked := await ParkedEvents(database).find():
        yield Finding(
            f"reactions.{service.name}",
            f"{len(parked)} events of {service.name} are parked, because the reaction to them failed too often. The "
            f"last error: {parked[-1]['reaction']} on {parked[-1]['event_id']}: {parked[-1]['error']}.",
            "Until they are retried, the consequences of these events are missing. Other events are handled.",
            "List them with `headrace admin reactions list`, remove the cause, and run "
            "`headrace admin reactions retry`.",
        )


async def check_storage(
    client: AsyncMongoClient[Document], settings: Settings, services: Sequence[Service]
) -> AsyncIterator[Finding]:
    """Check the free space of MongoDB's disk, and the number of days until it is full at the recent growth."""
    databases = {service.name: get_database(client, settings, service.name) for service in services}
    first = databases[services[0].name]
    disk, now = await measure_disk(first), await get_server_time(first)
    growth = sum([await estimate_daily_growth(database, now) for database in databases.values()])
    days = disk.free_bytes / growth if growth else inf
    if disk.free_bytes >= disk.total_bytes * MIN_FREE_RATIO and days >= MIN_DAYS_UNTIL_FULL:
        return
    sizes: dict[str, int] = {}
    for name, database in databases.items():
        sizes |= {f"{kind} of {name}": size for kind, size in (await measure_collections(database)).items()}
    largest = sorted(sizes, key=lambda label: -sizes[label])[:MAX_LISTED_SIZES]
    yield Finding(
        "storage",
        f"The disk of MongoDB has {disk.free_bytes / 10**6:,.0f} MB of {disk.total_bytes / 10**6:,.0f} MB left. At the "
        f"growth of the last week, {growth / 10**6:,.1f} MB a day, it is full in {min(days, 999):.0f} days. Largest: "
        f"{', '.join(f'{label} {sizes[label] / 10**6:,.1f} MB' for label in largest)}.",
        "When it is full, mongod stops and nothing can be recorded.",
        "Set limits in HEADRACE_RETENTION_..., keep fewer builds per project, or enlarge the disk.",
    )


async def check_master_keys(
    client: AsyncMongoClient[Document], settings: Settings, services: Sequence[Service]
) -> AsyncIterator[Finding]:
    """Check that the master keys decrypt, for each service and each master key in use, one data key that it wraps."""
    master = MasterKeys.from_keys(settings.master_keys)
    for service in services:
        data_keys = get_database(client, settings, service.name)["data_keys"]
        for kid in await data_keys.distinct("kid"):
            data_key = await data_keys.find_one({"kid": kid})
            try:
                if data_key is not None:
                    master.unwrap(kid, data_key["_id"], data_key["wrapped"])
            except (MasterKeyMissing, DecryptionFailed):
                yield Finding(
                    f"master_key.{service.name}",
                    f"The master key does not decrypt data keys of {service.name}, which are wrapped by {kid}.",
                    "They encrypt secrets, e-mail addresses and password hashes: users cannot sign in and builds fail.",
                    f"Set HEADRACE_MASTER_KEY to the key {kid}, or append this key after a comma.",
                )
