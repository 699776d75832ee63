"""Pages as Free Commit's clients ask for them."""

from typing import Any

import pytest

from contracts.errors import Refused
from contracts.paging import Filter
from contracts.projects import PageProjects
from gateway.paging import page_fields


def asked(query: str) -> dict[str, Any]:
    return page_fields(query.encode())


def test_nothing_asked_is_the_first_twenty_newest_first() -> None:
    assert asked("") == {
        "page": 1,
        "per_page": 20,
        "sort_by": "id",
        "descending": True,
        "any_filter": False,
        "filters": (),
    }


def test_aliases_and_order_are_read() -> None:
    found = asked("perPage=100000&page=0&sortBy=project_name&orderBy=asc&mode=include")
    assert (found["per_page"], found["page"], found["sort_by"]) == (100_000, 1, "project_name")
    assert (found["descending"], found["any_filter"]) == (False, True)


def test_filters_come_with_and_without_escapes() -> None:
    found = asked(
        "project_name%5Bcontains%5D=%C3%BCber&project_name[contains]=x&id[eq]=null&name=y&id[eq]=&a%20b[eq]=1"
    )
    assert found["filters"] == (
        Filter(column="project_name", operator="contains", values=("über", "x")),
        Filter(column="id", operator="eq", values=("null",)),
    )


@pytest.mark.parametrize("query", ["per_page=x", "per_page=-1", "page=1.5", "page=" + "9" * 30, "id[distancesup]=1"])
def test_what_cannot_be_read_is_malformed(query: str) -> None:
    with pytest.raises(Refused, match="REQUEST_MALFORMED"):
        asked(query)


def test_what_is_asked_makes_a_query() -> None:
    assert PageProjects.model_validate(asked("id[eq]=1")).filters == (
        Filter(column="id", operator="eq", values=("1",)),
    )
