"""Lists of any length, read from a service in several messages of limited size."""

from collections.abc import Awaitable, Callable

from pydantic_core import to_json

from contracts.messages import Page, Query
from contracts.paging import PageRequest

ROWS_PER_MESSAGE = 1000

Fetch = Callable[[Query], Awaitable[bytes]]


async def fetch_answer(query: Query, fetch: Fetch) -> bytes:
    """Return the answer to a query. The answer to a PageRequest has all rows that it requests."""
    if not isinstance(query, PageRequest):
        return await fetch(query)
    answer = await fetch(query.replace(limit=min(query.limit, ROWS_PER_MESSAGE)))
    page = first = Page.model_validate_json(answer)
    rows = list(first.rows)
    while page.next and len(rows) < query.limit:
        limit = min(query.limit - len(rows), ROWS_PER_MESSAGE)
        answer = await fetch(query.replace(after=page.next, skip=0, limit=limit, counted=False))
        page = Page.model_validate_json(answer)
        rows += page.rows
    return answer if page is first else to_json(first.replace(rows=rows, next=page.next))
