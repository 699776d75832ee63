"""The HTTP client: errors with their exit statuses, and repeated requests."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from client.errors import ApiError, ServerUnreachable
from client.http_client import Client

URL = "http://ci.example"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.http_client.time.sleep", lambda _: None)


def client_of(handler: Handler) -> Client:
    return Client(URL, "hrp_x", transport=httpx.MockTransport(handler))


def answers(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives these responses in turn, and the list of the requests it receives."""
    received: list[httpx.Request] = []
    remaining: Iterator[httpx.Response | Exception] = iter(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        received.append(request)
        answer = next(remaining)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, received


@pytest.mark.parametrize(
    ("status", "exit_code"), [(401, 4), (403, 4), (429, 4), (404, 1), (409, 1), (422, 1), (503, 3), (504, 3)]
)
def test_the_exit_status_follows_the_status_of_the_response(status: int, exit_code: int) -> None:
    handler, _ = answers(httpx.Response(status, json={"message": "SOME_CODE", "detail": "Why."}))
    with pytest.raises(ApiError, match=r"^SOME_CODE: Why\.$") as error:
        client_of(handler).get("/x")
    assert error.value.exit_code == exit_code


def test_a_server_that_never_answered_is_not_asked_twice() -> None:
    handler, received = answers(httpx.ConnectError("refused"))
    with pytest.raises(ServerUnreachable) as error:
        client_of(handler).get("/x")
    assert len(received) == 1
    assert error.value.exit_code == 3


def test_a_write_is_repeated_with_the_same_idempotency_key_after_a_lost_answer() -> None:
    handler, received = answers(
        httpx.Response(200, json=1),
        httpx.ReadError("lost"),
        httpx.Response(503, json={"message": "SERVICE_UNAVAILABLE"}),
        httpx.Response(200, json={"id": 7}),
    )
    client = client_of(handler)
    client.get("/first")
    assert client.post("/builds", {"a": 1}) == {"id": 7}
    first, *repeated = [request.headers["Idempotency-Key"] for request in received[1:]]
    assert repeated == [first, first]


def test_a_rejected_request_is_not_repeated() -> None:
    handler, received = answers(httpx.Response(200), httpx.Response(409, json={"message": "CONFLICT"}))
    client = client_of(handler)
    client.get("/first")
    with pytest.raises(ApiError):
        client.post("/builds")
    assert len(received) == 2


def test_a_redirect_is_an_error_that_names_its_target() -> None:
    handler, _ = answers(httpx.Response(301, headers={"location": "https://ci.example/"}))
    with pytest.raises(ApiError, match=r"HTTP_301: redirect to https://ci.example/"):
        client_of(handler).get("/x")
