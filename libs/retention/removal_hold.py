"""A hold, which postpones the removal of streams from the event log while a projection is filled from the log.

A reader of the log extends the hold with each page. The removal writes the same document in its transactions, so that
the two conflict in the database.
"""

from datetime import datetime, timedelta

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document

HOLDS = "removal_holds"
HOLD_ID = "log_readers"
HOLD_SECONDS = 120  # how long no stream is removed after a page of the log was read


class RemovalHeld(Exception):
    """The log is being read. The removal continues later."""


async def hold_removal(database: AsyncDatabase[Document], now: datetime) -> None:
    """Postpone the removal for HOLD_SECONDS. `now`: the database's time."""
    until = now + timedelta(seconds=HOLD_SECONDS)
    await database[HOLDS].update_one({"_id": HOLD_ID}, {"$max": {"until": until}}, upsert=True)


async def pass_hold(database: AsyncDatabase[Document], now: datetime, session: AsyncClientSession) -> None:
    """Raise RemovalHeld while the log is being read. Call it in the transaction that changes the log."""
    hold = await database[HOLDS].find_one_and_update(
        {"_id": HOLD_ID}, {"$inc": {"removals": 1}}, upsert=True, session=session
    )
    if hold and hold.get("until", now) > now:
        raise RemovalHeld
