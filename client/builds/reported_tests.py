"""The tests of a build, from the JUnit reports of its jobs."""

from collections.abc import Iterator

from client.builds.overview import Json, quote_id
from client.http_client import Client

FAILED = ("failed", "error")
PAGE_SIZE = 200
NAMED_FAILURES = 3  # maximum number of failed tests that `describe_tests` names


def iterate_tests(client: Client, build_id: str | int, *, failed: bool = False) -> Iterator[Json]:
    """Yield the tests of a build: failed ones, then, unless `failed` is set, skipped ones and those that passed."""
    filters: Json = {"limit": PAGE_SIZE, **({"status": FAILED} if failed else {})}
    while True:
        page = client.get(f"/developer/builds/{quote_id(build_id)}/tests", **filters)
        yield from page["tests"]
        if page["next"] is None:
            return
        filters["after"] = page["next"]


def describe_tests(client: Client, build: Json) -> str:
    """Return a sentence about the tests of a build, with the first failed ones, or an empty text without tests."""
    tests = build.get("tests")  # servers up to 0.2.0 do not send the field
    if not tests or not tests["total"]:
        return ""
    failed = tests["failed"] + tests["errors"]
    if not failed:
        return f"{_count(tests['total'])} passed." if not tests["skipped"] else _with_skipped(tests)
    path = f"/developer/builds/{quote_id(build['id'])}/tests"
    page = client.get(path, status=FAILED, limit=NAMED_FAILURES)
    names = ", ".join(qualified_name(test) for test in page["tests"])
    more = f" and {failed - NAMED_FAILURES} more" if failed > NAMED_FAILURES else ""
    return f"{failed} of {_count(tests['total'])} failed: {names}{more}"


def qualified_name(test: Json) -> str:
    return f"{test['class_name']}.{test['name']}" if test["class_name"] else str(test["name"])


def _with_skipped(tests: Json) -> str:
    return f"{tests['passed']} of {_count(tests['total'])} passed, {tests['skipped']} skipped."


def _count(number: int) -> str:
    return f"{number} test{'' if number == 1 else 's'}"
