"""What was worked off before a backup: a restored system reads its whole log anew and leaves that out.

Each reaction and each work is harmless when it is repeated at once. Long after, it would meet a world that has gone on:
a wish that once came to nothing might come true. Views are no matter of this, they are folded from the first event.
"""

from collections.abc import Mapping
from datetime import datetime

from pymongo.asynchronous.database import AsyncDatabase

from libs.eventstore.mapping import Document

RESTORE_CUTOFFS = "handled"


async def load_cutoffs(database: AsyncDatabase[Document]) -> Mapping[str, datetime]:
    """By the name of a follower or a worker's consumer: it is done with all events of decisions before that time."""
    return {one["_id"]: one["before"] async for one in database[RESTORE_CUTOFFS].find({})}
