"""Followed views: events of another service, folded into one row per key."""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import DeleteOne, ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from contracts.messages import Row
from libs.deciding import Recorded
from libs.eventstore.documents import Document
from libs.service import FollowedView


def view_collection(view: FollowedView) -> str:
    return f"view_{view.name}_v{view.version}"


async def fold_into(
    collection: AsyncCollection[Document],
    view: FollowedView,
    news: Sequence[Recorded[Any]],
    session: AsyncClientSession | None,
) -> None:
    """Read the rows that the events belong to, fold, write them back."""
    rows: dict[str, Row] = {}
    await fold_rows(collection, view, news, rows, session)
    await write_rows(collection, view, rows, session)


async def fold_rows(
    collection: AsyncCollection[Document],
    view: FollowedView,
    news: Sequence[Recorded[Any]],
    rows: dict[str, Row],
    session: AsyncClientSession | None = None,
) -> None:
    """Fold events into `rows`, which gets from the collection what it lacks."""
    keyed = [(key, recorded) for recorded in news if (key := view.key(recorded)) is not None]
    missing = {key for key, _ in keyed} - rows.keys()
    if missing:
        async for found in collection.find({"_id": {"$in": list(missing)}}, session=session):
            rows[found["_id"]] = type(view.row).model_validate(found["row"])
    for key, recorded in keyed:
        rows[key] = view.fold(rows.get(key, view.row), recorded)


async def write_rows(
    collection: AsyncCollection[Document],
    view: FollowedView,
    rows: Mapping[str, Row],
    session: AsyncClientSession | None = None,
) -> None:
    writes = [
        DeleteOne({"_id": key}) if view.gone(row) else ReplaceOne({"_id": key}, {"row": row.model_dump()}, upsert=True)
        for key, row in rows.items()
    ]
    if writes:
        await collection.bulk_write(writes, ordered=False, session=session)
