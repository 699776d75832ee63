"""A server on a loopback port that receives webhooks and chat messages."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.infrastructure.http_thread import QuietHandler, serve_in_thread


@dataclass(frozen=True)
class ReceivedRequest:
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class NotificationReceiver:
    url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # HTTP status codes of the next responses
    location: str = ""  # header Location of the responses; empty: no such header

    def texts(self) -> list[str]:
        """Return the texts of the chat messages."""
        return [request.json()["text"] for request in self.requests]


@contextmanager
def notification_receiver() -> Iterator[NotificationReceiver]:
    receiver = NotificationReceiver()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(ReceivedRequest(self.path, headers, body))
            self.send_response(receiver.failures.pop(0) if receiver.failures else 200)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.end_headers()
            self.wfile.write(b"canary-answer")

    with serve_in_thread(Handler) as receiver.url:
        yield receiver
