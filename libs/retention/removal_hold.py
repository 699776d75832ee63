"""The hold that keeps the removal of streams from changing the event log while a projection is filled from it.

A reader of the log extends it with each page. The removal writes the same document in its transactions, so that the
database lets one of them wait for the other.
"""

from datetime import datetime, timedelta

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document

HOLDS = "removal_holds"
HOLD_ID = "log_readers"
HOLD_SECONDS = 120  # after the last page that was read


class RemovalHeld(Exception):
    """The log is being read. The removal continues later."""


async def hold_removal(database: AsyncDatabase[Document], now: datetime) -> None:
    """Hold the removal for HOLD_SECONDS from the database's time `now`."""
    until = now + timedelta(seconds=HOLD_SECONDS)
    await database[HOLDS].update_one({"_id": HOLD_ID}, {"$max": {"until": until}}, upsert=True)


async def pass_hold(database: AsyncDatabase[Document], now: datetime, session: AsyncClientSession) -> None:
    """Raise RemovalHeld while the log is being read. Called in the transaction that changes the log."""
    hold = await database[HOLDS].find_one_and_update(
        {"_id": HOLD_ID}, {"$inc": {"removals": 1}}, upsert=True, session=session
    )
    if hold and hold.get("until", now) > now:
        raise RemovalHeld
