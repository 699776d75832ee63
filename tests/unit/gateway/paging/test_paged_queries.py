"""The gateway reads a long list in several messages."""

import pytest

from contracts.identity import GetUser, ListUsersPage
from contracts.messages import Page, Query
from contracts.paging import PageRequest
from gateway.forwarding.paged_queries import ROWS_PER_MESSAGE, fetch_answer


class NumberList:
    """A service with a list of numbers, of which at most `per_message` fit into a message."""

    def __init__(self, length: int, per_message: int = 10**6) -> None:
        self.length = length
        self.per_message = per_message
        self.requests: list[PageRequest] = []

    async def fetch(self, query: Query) -> bytes:
        assert isinstance(query, PageRequest)
        self.requests.append(query)
        start = int(query.after or 0) + query.skip
        end = min(start + min(query.limit, self.per_message), self.length)
        rows = tuple({"number": number} for number in range(start, end))
        total = self.length if query.counted else 0
        return Page(rows=rows, total=total, next=str(end) if end < self.length else None).model_dump_json().encode()

    async def read(self, **request: object) -> Page:
        query = ListUsersPage.model_validate({"counted": True, **request})
        return Page.model_validate_json(await fetch_answer(query, self.fetch))


@pytest.mark.parametrize("per_message", [7, 1000, 10**6])
async def test_a_list_of_any_length_is_read_once_and_counted_once(per_message: int) -> None:
    numbers = NumberList(2500, per_message)
    page = await numbers.read()
    assert [row["number"] for row in page.rows] == [*range(2500)]
    assert (page.total, page.next) == (2500, None)
    assert max(request.limit for request in numbers.requests) == ROWS_PER_MESSAGE
    assert [request.counted for request in numbers.requests] == [True] + [False] * (len(numbers.requests) - 1)


@pytest.mark.parametrize("per_message", [7, 10**6])
async def test_a_numbered_page_skips_rows_once(per_message: int) -> None:
    page = await NumberList(5000, per_message).read(skip=1500, limit=1500)
    assert [row["number"] for row in page.rows] == [*range(1500, 3000)]
    assert (page.total, page.next) == (5000, "3000")


async def test_a_page_that_fits_into_a_message_is_passed_through() -> None:
    numbers = NumberList(30)
    assert (await numbers.read(limit=20)).next == "20"
    assert len(numbers.requests) == 1


async def test_another_query_is_sent_once() -> None:
    async def fetch(_query: Query) -> bytes:
        return b"{}"

    assert await fetch_answer(GetUser(user_id=1), fetch) == b"{}"
