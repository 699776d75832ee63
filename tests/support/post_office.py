"""A mail server on a loopback port, in a thread of its own, that keeps what it was sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from infra.local import ports


@dataclass
class PostOffice:
    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # recipients, for the time being

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refused.intersection(envelope.rcpt_tos):
            return "451 try again later"
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default))
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if address in str(mail["To"])]

    @property
    def environment(self) -> dict[str, str]:
        """What a stack needs to send its mails here."""
        return {"HEADRACE_MAIL_HOST": "127.0.0.1", "HEADRACE_MAIL_PORT": str(self.port), "HEADRACE_MAIL_TLS": "none"}


@contextmanager
def post_office() -> Iterator[PostOffice]:
    office = PostOffice(ports.free_port())
    controller = Controller(office, hostname="127.0.0.1", port=office.port)
    controller.start()
    try:
        yield office
    finally:
        controller.stop()
