"""Requests for lists as gateways of release 0.2.0 send them: with page numbers, or without a limit."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.identity import ListCompanies, ListSshKeys, ListUsers, ListUsersPage
from contracts.messages import Page
from contracts.paging import MAX_ROWS, PageRequest
from contracts.projects import ListExecutors
from libs.projections.paging import formerly

PAGE = Page(rows=({"id": 1}, {"id": 2}), total=2, next="x")
FILTERS = {"filters": [], "any_filter": False, "sort_by": "id", "descending": True}


@pytest.mark.parametrize(
    ("message", "fields", "expected"),
    [
        (ListSshKeys, {"page": 3, "size": 10, "user_id": 1}, (30, 10, True)),
        (ListSshKeys, {"page": 0, "size": 1000, "user_id": 1}, (0, 1000, True)),
        (ListUsersPage, {"page": 3, "per_page": 20, "counted": True, **FILTERS}, (40, 20, True)),
        (ListUsersPage, {"page": 1, "per_page": 100_000, "counted": False, **FILTERS}, (0, 100_000, False)),
        (ListUsersPage, {"page": 1, "per_page": 0, "counted": True, **FILTERS}, (0, MAX_ROWS, True)),
        (ListUsersPage, {"page": 0, "per_page": 20, "counted": True, **FILTERS}, (0, 20, True)),
    ],
)
def test_page_numbers_become_the_rows_to_skip(
    message: type[PageRequest], fields: dict[str, Any], expected: tuple[int, int, bool]
) -> None:
    request = message.model_validate(fields)
    assert (request.skip, request.limit, request.counted, request.after) == (*expected, "")


@pytest.mark.parametrize("fields", [{"page": "1", "size": 10}, {"page": 1}, {"size": 10}, {"skip": -1}, {"limit": 0}])
def test_an_invalid_page_is_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PageRequest.model_validate(fields)


def test_a_request_for_certain_users_has_only_the_field_that_services_of_the_previous_release_accept() -> None:
    assert ListUsers(user_ids=(2, 1)).model_dump_json() == '{"user_ids":[2,1]}'
    assert ListUsers.model_validate_json(ListUsers().model_dump_json()).limit == MAX_ROWS


async def answer_page(_ctx: Any, _request: PageRequest) -> Page:
    return PAGE


async def test_a_whole_list_is_answered_under_its_former_name() -> None:
    answer = formerly("executors", answer_page)
    ctx: Any = None
    assert await answer(ctx, ListExecutors.model_validate({"reveal": True})) == {"executors": PAGE.rows}
    assert await formerly("", answer_page)(ctx, ListCompanies.model_validate({})) == PAGE.rows
    sent = ListExecutors(reveal=True).model_dump_json()
    assert await answer(ctx, ListExecutors.model_validate_json(sent)) == PAGE
