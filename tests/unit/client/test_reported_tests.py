"""The client's sentence about the tests of a build, and the pages of their list."""

from typing import Any

import httpx
import pytest

from client.builds.reported_tests import describe_tests, iterate_tests
from client.http_client import Client
from client.output.build_view import describe_failure

FAILURE = {
    "status": "failed", "job_name": "unit", "class_name": "cart", "name": "total", "file": "cart.py", "line": 7,
    "message": "1 != 2", "details": "one\n\x1b]0;x\x07two",
}  # fmt: skip


def client_of(pages: dict[str, Any]) -> Client:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=pages[request.url.query.decode()])

    return Client("http://ci.example", "token", transport=httpx.MockTransport(answer))


def counts(total: int, failed: int = 0, errors: int = 0, skipped: int = 0) -> dict[str, Any]:
    passed = total - failed - errors - skipped
    tests = {"total": total, "passed": passed, "failed": failed, "errors": errors, "skipped": skipped}
    return {"id": 17, "tests": tests}


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        ({"id": 17}, ""),
        ({"id": 17, "tests": None}, ""),
        (counts(0), ""),
        (counts(1), "1 test passed."),
        (counts(9, skipped=2), "7 of 9 tests passed, 2 skipped."),
        (counts(120, failed=1), "1 of 120 tests failed: cart.total"),
        (counts(120, failed=3, errors=2), "5 of 120 tests failed: cart.total and 2 more"),
    ],
)
def test_a_sentence_says_how_many_tests_failed_and_names_some(build: dict[str, Any], sentence: str) -> None:
    client = client_of({"status=failed&status=error&limit=3": {"tests": [FAILURE], "next": None}})
    assert describe_tests(client, build) == sentence


def test_all_pages_are_read() -> None:
    pages = {"limit=200": {"tests": [{"name": "a"}], "next": "x"}, "limit=200&after=x": {"tests": [{}], "next": None}}
    assert list(iterate_tests(client_of(pages), 17)) == [{"name": "a"}, {}]


def test_a_failure_is_printed_without_control_sequences() -> None:
    assert list(describe_failure(FAILURE)) == [
        "==> failed: cart.total (cart.py:7), job unit",
        "1 != 2",
        "one",
        "two",
    ]
