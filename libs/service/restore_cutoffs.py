"""Restore cutoffs: times before which subscriptions and workers had handled all events when a backup was made.

A restored system reads its whole log again. Reactions and workers tolerate an immediate repetition, but repeating an
old event could have effects that it did not have at its time, so they skip events before the cutoff. Projections have
no cutoff: they are rebuilt from the first event.
"""

from collections.abc import Mapping
from datetime import datetime

from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document

RESTORE_CUTOFFS = "handled"


async def load_cutoffs(database: AsyncDatabase[Document]) -> Mapping[str, datetime]:
    """Return the time before which all events were handled, by subscription or consumer name."""
    return {cutoff["_id"]: cutoff["before"] async for cutoff in database[RESTORE_CUTOFFS].find({})}
