"""Free Commit's paging parameters in query strings."""

from collections.abc import Mapping
from typing import Any

import pytest

from contracts.errors import RequestRejected
from contracts.paging import Filter
from contracts.projects import ListProjectsPage
from gateway.adapters.free_commit.paging import parse_page_fields


def parse(query: str) -> Mapping[str, Any]:
    return parse_page_fields(query.encode())


def test_the_default_page_is_the_first_twenty_newest_first() -> None:
    assert parse("") == {
        "skip": 0,
        "limit": 20,
        "sort_by": "id",
        "descending": True,
        "counted": True,
        "any_filter": False,
        "filters": (),
    }


def test_paging_parameter_aliases_and_sort_order_are_read() -> None:
    fields = parse("perPage=100000&page=0&sortBy=project_name&orderBy=asc&mode=include")
    assert (fields["limit"], fields["skip"], fields["sort_by"]) == (100_000, 0, "project_name")
    assert (fields["descending"], fields["any_filter"]) == (False, True)


def test_filters_are_read_with_and_without_percent_encoding() -> None:
    fields = parse(
        "project_name%5Bcontains%5D=%C3%BCber&project_name[contains]=x&id[eq]=null&name=y&id[eq]=&a%20b[eq]=1"
    )
    assert fields["filters"] == (
        Filter(column="project_name", operator="contains", values=("über", "x")),
        Filter(column="id", operator="eq", values=("null",)),
    )


def test_a_filter_value_may_contain_equal_signs() -> None:
    assert parse("a[eq]=x=y==")["filters"] == (Filter(column="a", operator="eq", values=("x=y==",)),)


@pytest.mark.parametrize("query", ["a[EQ]=1", "a[]=1", "[eq]=1", "a[eq][eq]=1", "a-b[eq]=1", "a[eq]=", "=", "%ff"])
def test_a_malformed_filter_is_ignored(query: str) -> None:
    assert parse(query)["filters"] == ()


@pytest.mark.parametrize(
    ("query", "counted"),
    [("dynamic_counting=true", False), ("dynamic_counting=false", True), ("a[eq]=dynamic_counting=true", True)],
)
def test_dynamic_counting_turns_off_the_total(query: str, counted: bool) -> None:
    assert parse(query)["counted"] is counted


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("per_page=x", "PAGINATION_PER_PAGE_INVALID"),
        ("perPage=-1", "PAGINATION_PER_PAGE_INVALID"),
        ("page=1.5", "PAGINATION_PAGE_INVALID"),
        ("page=" + "9" * 30, "PAGINATION_PAGE_INVALID"),
        ("id[near]=1", "PAGINATION_OPERATOR_INVALID"),
        ("unknown[near]=1", "PAGINATION_OPERATOR_INVALID"),
        ("&".join(["id[eq]=1"] * 101), "PAGINATION_FILTERS_INVALID"),
    ],
)
def test_invalid_paging_parameters_have_an_error_code(query: str, code: str) -> None:
    with pytest.raises(RequestRejected, match=code):
        parse(query)


def test_page_fields_build_a_valid_query_message() -> None:
    assert ListProjectsPage.model_validate(parse("id[eq]=1")).filters == (
        Filter(column="id", operator="eq", values=("1",)),
    )
