"""Balances: the contribution of removed streams to cumulative projections, whose rows must stay unchanged.

A rebuild of a cumulative projection starts from its balance instead of from empty rows.
"""

from collections.abc import Sequence

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore.decider import AnyEvent
from libs.eventstore.indexes import create_collection
from libs.projections.projector import apply_batch, projection_collection
from libs.retention.removal_hold import hold_removal
from libs.service.connections import get_server_time
from libs.service.declaration import AnyProjection


def _balance_collection(database: AsyncDatabase[Document], projection: AnyProjection) -> AsyncCollection[Document]:
    return database[f"balance_{projection.name}"]


async def create_balance(database: AsyncDatabase[Document], projection: AnyProjection) -> None:
    """Create the collection of a cumulative projection's balance. Idempotent."""
    if projection.is_cumulative:
        await create_collection(database, _balance_collection(database, projection).name)


async def add_to_balance(
    database: AsyncDatabase[Document],
    projection: AnyProjection,
    events: Sequence[AnyEvent],
    session: AsyncClientSession,
) -> None:
    await apply_batch(_balance_collection(database, projection), projection, events, session)


async def copy_balance(
    database: AsyncDatabase[Document], projection: AnyProjection, target: AsyncCollection[Document]
) -> None:
    """Copy the balance of a cumulative projection into an empty collection of its rows.

    Does nothing for other projections. The balance does not change until the log has been read, unless the reader
    pauses for HOLD_SECONDS.
    """
    if projection.is_cumulative:
        await hold_removal(database, await get_server_time(database))
        async for document in _balance_collection(database, projection).find({}):
            await target.replace_one({"_id": document["_id"]}, document, upsert=True)


async def reset_projection(database: AsyncDatabase[Document], projection: AnyProjection) -> None:
    """Delete the rows of a projection. If it is cumulative, replace them with its balance."""
    rows = database[projection_collection(projection)]
    await rows.delete_many({})
    await copy_balance(database, projection, rows)
