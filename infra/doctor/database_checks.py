"""MongoDB and what lies in it: the server, indexes, rows, and the keys that open what is sealed."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, OperationFailure, ServerSelectionTimeoutError

from infra.backup.scope import is_restore_interrupted
from infra.doctor.finding import Finding
from libs.eventstore.indexes import find_differing_indexes
from libs.eventstore.mapping import Document
from libs.projections.schema import list_indexes
from libs.security.envelope_encryption import DecryptionFailed, MasterKeyMissing, MasterKeys
from libs.service.connections import CODEC_OPTIONS, get_database
from libs.service.declaration import Service
from libs.settings import Settings, SettingsError

MIN_MONGODB_VERSION = (6, 0)
MAX_CLOCK_SKEW_SECONDS = 5.0  # seconds
MAX_TRANSACTION_SECONDS = 5  # seconds
MAX_LISTED_INDEXES = 5  # indexes that a finding names
UNAUTHORIZED_CODES = {13, 18}
FATAL_CHECKS = {"mongodb", "mongodb.replica_set"}  # no other look at the database makes sense
MIGRATE_REMEDY = "Run `headrace migrate` (it may run while the services do)."


def invalid_setting_finding(error: SettingsError) -> Finding:
    return Finding("mongodb", str(error), "It holds everything: without it no service answers.", "Correct the setting.")


async def check_server(client: AsyncMongoClient[Document]) -> AsyncIterator[Finding]:
    """Ends after the first thing that makes all others meaningless."""
    try:
        before = datetime.now(UTC)
        hello = await client.admin.command("hello", codec_options=CODEC_OPTIONS)
        after = datetime.now(UTC)
    except ServerSelectionTimeoutError:
        yield Finding(
            "mongodb",
            "MongoDB is not reachable, or has no primary.",
            "It holds everything: without it no service answers.",
            "Start it, see whether a primary was elected (rs.status()), and check the address in HEADRACE_MONGODB_URL.",
        )
        return
    except (OperationFailure, ConfigurationError) as error:
        yield Finding(
            "mongodb",
            f"MongoDB refuses the log-in or the address ({type(error).__name__}).",
            "It holds everything: without it no service answers.",
            "Correct user, password and authSource in HEADRACE_MONGODB_URL.",
        )
        return
    if "setName" not in hello:
        yield Finding(
            "mongodb.replica_set",
            "MongoDB is no replica set.",
            "Transactions and change streams need one, if only of one member: nothing can be recorded.",
            "Start mongod with --replSet and run rs.initiate() once.",
        )
        return
    found = tuple((await client.server_info())["versionArray"][:2])
    if found < MIN_MONGODB_VERSION:
        yield Finding(
            "mongodb.version",
            f"MongoDB is of version {found[0]}.{found[1]}.",
            "Headrace is made for 6.0 and newer.",
            "Upgrade it, one major version after the other.",
        )
    middle = before + (after - before) / 2
    if abs(skew := (hello["localTime"] - middle).total_seconds()) > MAX_CLOCK_SKEW_SECONDS:
        yield Finding(
            "mongodb.clock",
            f"MongoDB's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the one here.",
            "Leases, log-ins and the order of events go by clocks.",
            "Let all machines follow the same time servers (NTP).",
        )


async def check_durability(client: AsyncMongoClient[Document], settings: Settings) -> AsyncIterator[Finding]:
    """Whether a majority takes writes: one that changes nothing is enough to see it."""
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
            "No majority of the replica set takes writes.",
            "Every command waits for one, so that a fail-over takes nothing back: now they all end in SERVICE_TIMEOUT.",
            "See rs.status(): start the members that are missing, or remove those that are gone for good.",
        )
    try:
        limit = (await client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1))[
            "transactionLifetimeLimitSeconds"
        ]
    except OperationFailure:
        return  # not for us to know
    if limit > MAX_TRANSACTION_SECONDS:
        yield Finding(
            "mongodb.transactions",
            f"MongoDB gives up an abandoned transaction after {limit} s.",
            "A process that is killed within one leaves what it touched locked so long; ours take milliseconds.",
            "On every member: --setParameter transactionLifetimeLimitSeconds=3",
        )


def _permission_finding(check: str, what: str) -> Finding:
    return Finding(
        check,
        f"The user in HEADRACE_MONGODB_URL {what}.",
        "Every service reads and writes its own database.",
        "Give the user the role readWrite on the databases of the services.",
    )


async def check_contents(
    client: AsyncMongoClient[Document], settings: Settings, services: Sequence[Service]
) -> AsyncIterator[Finding]:
    databases = {service.name: get_database(client, settings, service.name) for service in services}
    if await is_restore_interrupted(databases[services[0].name]):
        yield Finding(
            "restore",
            "A restore is under way, or was interrupted.",
            "The databases are not complete; services wait for the end of it.",
            "If none is running, run `headrace restore` again with the same file: it begins anew.",
        )
        return
    for service in services:
        async for one in _check_schema(service, databases[service.name]):
            yield one


async def _check_schema(service: Service, database: AsyncDatabase[Document]) -> AsyncIterator[Finding]:
    built = {one["_id"]: one["version"] async for one in database["views"].find({})}
    stale = [one.name for one in service.categories if built.get(one.name, 0) < one.row_version]
    if stale:
        yield Finding(
            f"rows.{service.name}",
            f"The rows of {', '.join(stale)} are not built in the version of this release.",
            f"The service {service.name} waits for them and does not start.",
            MIGRATE_REMEDY,
        )
    differing = await find_differing_indexes(database, list(list_indexes(service)))
    if differing and not stale:
        yield Finding(
            f"indexes.{service.name}",
            f"{len(differing)} indexes of {service.name} are missing or have other settings: "
            f"{', '.join(map(str, differing[:MAX_LISTED_INDEXES]))}"
            f"{' ...' if len(differing) > MAX_LISTED_INDEXES else ''}.",
            "Without them lists read whole collections, old documents stay, or the same one is stored twice.",
            MIGRATE_REMEDY,
        )


async def check_master_keys(
    client: AsyncMongoClient[Document], settings: Settings, services: Sequence[Service]
) -> AsyncIterator[Finding]:
    """A data key of each master key, opened."""
    master = MasterKeys.from_keys(settings.master_keys)
    for service in services:
        data_keys = get_database(client, settings, service.name)["data_keys"]
        for kid in await data_keys.distinct("kid"):
            one = await data_keys.find_one({"kid": kid})
            try:
                if one is not None:
                    master.unwrap(kid, one["_id"], one["wrapped"])
            except (MasterKeyMissing, DecryptionFailed):
                yield Finding(
                    f"master_key.{service.name}",
                    f"The master key does not open data keys of {service.name} (they are wrapped by {kid}).",
                    "Secrets, e-mail addresses and password hashes are sealed with them: nobody can log in or build.",
                    f"Set HEADRACE_MASTER_KEY to the key {kid}, or append that one after a comma.",
                )
