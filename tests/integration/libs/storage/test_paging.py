"""Pages read by key on a real database, while rows are added and deleted."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from contracts.errors import RequestRejected
from contracts.messages import Page, ReadModelRow
from contracts.paging import PageRequest
from libs.documents import Document
from libs.projections import paging
from libs.projections.paging import decode_cursor, encode_cursor, fetch_page, select_rows
from libs.projections.read_model import Order, ReadModel
from libs.service.connections import get_database
from libs.settings import Settings

ROW_COUNT = 300
NAMES = ("", "A", "a", "b\0", "ü", None)
START = datetime(2026, 11, 30, 3, tzinfo=UTC)
ORDERS: tuple[Order, ...] = tuple(
    order
    for direction in (1, -1)
    for order in (
        [("id", direction)],
        [("name", direction), ("id", direction)],
        [("at", direction), ("id", direction)],
        [("name", direction), ("at", direction), ("id", direction)],
    )
)


class Stone(ReadModelRow):
    id: int = 0
    name: str | None = None
    at: datetime = START


def stone_document(number: int) -> Document:
    stone = Stone(id=number, name=NAMES[number % len(NAMES)], at=START + timedelta(milliseconds=number % 7))
    return {"_id": f"stone-{number}", "stone_v1": stone.model_dump()}


@pytest.fixture
async def stones(settings: Settings, mongo_client: AsyncMongoClient[Document]) -> AsyncCollection[Document]:
    """Return a collection of stones with even numbers, so that tests can insert stones between them."""
    collection = get_database(mongo_client, settings, "stones")["streams"]
    await collection.insert_many([stone_document(2 * number) for number in range(ROW_COUNT)])
    return collection


def read_model(stones: AsyncCollection[Document]) -> ReadModel[Stone]:
    return ReadModel(stones, Stone, "stone_v1", "stone-")


async def get_page(stones: AsyncCollection[Document], order: Order, **request: object) -> Page:
    return await fetch_page(read_model(stones), PageRequest.model_validate(request), lambda row: row, order=order)


async def list_in_one_page(stones: AsyncCollection[Document], order: Order) -> list[int]:
    page = await get_page(stones, order)
    assert page.next is None
    return [row["id"] for row in page.rows]


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_pages_by_key_equal_the_whole_list(stones: AsyncCollection[Document], order: Order) -> None:
    ids: list[int] = []
    after: str | None = ""
    while after is not None:
        page = await get_page(stones, order, after=after, limit=7)
        ids += [row["id"] for row in page.rows]
        after = page.next
    assert ids == await list_in_one_page(stones, order)
    assert len(ids) == ROW_COUNT


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_no_row_repeats_or_is_missed_while_others_are_added_and_deleted(
    stones: AsyncCollection[Document], order: Order
) -> None:
    random = Random(7)  # noqa: S311
    staying = set(random.sample([2 * number for number in range(ROW_COUNT)], ROW_COUNT // 2))
    ids: list[int] = []
    after: str | None = ""
    while after is not None:
        page = await get_page(stones, order, after=after, limit=11)
        ids += [row["id"] for row in page.rows]
        after = page.next
        # the last row of the page is deleted, too: its successor is found by its key
        doomed = {*random.sample(range(2 * ROW_COUNT), 40), *ids[-1:]} - staying
        await stones.delete_many({"_id": {"$in": [f"stone-{number}" for number in doomed]}})
        fresh = 2 * random.randrange(10 * ROW_COUNT) + 1
        await stones.replace_one({"_id": f"stone-{fresh}"}, stone_document(fresh), upsert=True)
    assert len(ids) == len(set(ids))
    assert staying <= set(ids)
    assert [number for number in ids if number in staying] == [
        number for number in await list_in_one_page(stones, order) if number in staying
    ]


async def test_a_numbered_page_skips_rows_and_counts_the_list(stones: AsyncCollection[Document]) -> None:
    page = await get_page(stones, [("id", 1)], skip=290, limit=20, counted=True)
    assert [row["id"] for row in page.rows] == [*range(580, 600, 2)]
    assert (page.total, page.next) == (ROW_COUNT, None)
    beyond = await get_page(stones, [("id", 1)], skip=10**15, limit=20, counted=True)
    assert (beyond.rows, beyond.total) == ((), ROW_COUNT)
    first = await get_page(stones, [("id", 1)], limit=20)
    assert (len(first.rows), first.total) == (20, 0)


async def test_a_page_ends_before_it_exceeds_a_message(
    stones: AsyncCollection[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await list_in_one_page(stones, [("id", 1)])
    for size, count in ((1, 1), (500, 9)):
        monkeypatch.setattr(paging, "MAX_PAGE_BYTES", size)
        page = await get_page(stones, [("id", 1)])
        assert len(page.rows) <= count
        rest = await get_page(stones, [("id", 1)], after=page.next, limit=1)
        assert [row["id"] for row in (*page.rows, *rest.rows)] == whole[: len(page.rows) + 1]


@pytest.mark.parametrize(
    "cursor",
    ["x", "ü", "!", encode_cursor(()), encode_cursor((1, 2)), encode_cursor(({"$gt": 0},)), encode_cursor(([1],))],
)
async def test_an_invalid_cursor_is_rejected(stones: AsyncCollection[Document], cursor: str) -> None:
    with pytest.raises(RequestRejected, match="PAGINATION_CURSOR_INVALID"):
        await get_page(stones, [("id", 1)], after=cursor)


@pytest.mark.parametrize("value", ["text", None, True, START])
@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_a_cursor_of_another_list_is_no_error_of_the_database(
    stones: AsyncCollection[Document], order: Order, value: object
) -> None:
    await get_page(stones, order, after=encode_cursor((value,) * len(order)))


def test_a_cursor_keeps_the_values_of_a_row() -> None:
    values = ("ü\0", None, True, -(2**63), START)
    assert decode_cursor(encode_cursor(values), len(values)) == values


@pytest.mark.parametrize("descending", [False, True])
def test_items_in_memory_are_paged_like_rows(descending: bool) -> None:
    items = [5, 3, 9, 1, 7]

    def key(item: int) -> tuple[int]:
        return (item,)

    found: list[int] = []
    after: str | None = ""
    while after is not None:
        page = select_rows(items, PageRequest(after=after, limit=2), key, descending=descending)
        found += page.rows
        after = page.render({"id": item} for item in page.rows).next
    assert found == sorted(items, reverse=descending)
    counted = select_rows(items, PageRequest(skip=4, limit=2, counted=True), key)
    assert (counted.rows, counted.total, counted.has_more) == ([9], 5, False)


def test_an_invalid_cursor_for_items_in_memory_is_rejected() -> None:
    for request in (PageRequest(after=encode_cursor(("text",))), PageRequest(after=encode_cursor((1, 2)))):
        with pytest.raises(RequestRejected, match="PAGINATION_CURSOR_INVALID"):
            select_rows([(1,)], request, lambda item: item)
        assert select_rows([], request, lambda item: item).rows == []
