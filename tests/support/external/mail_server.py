"""An SMTP server on a loopback port. It stores received messages and can reject recipients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from infra.local import ports
from tests.support.waiting import WITHIN_SECONDS


@dataclass
class MailServer:
    port: int
    messages: list[EmailMessage] = field(default_factory=list)
    rejected_recipients: set[str] = field(default_factory=set)  # messages to these recipients get a temporary error

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.rejected_recipients.intersection(envelope.rcpt_tos):
            return "451 try again later"
        self.messages.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default))
        return "250 OK"

    def messages_to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.messages if address in str(mail["To"])]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make a stack send its e-mails to this server."""
        return {"HEADRACE_MAIL_HOST": "127.0.0.1", "HEADRACE_MAIL_PORT": str(self.port), "HEADRACE_MAIL_TLS": "none"}


@contextmanager
def running_mail_server() -> Iterator[MailServer]:
    office = MailServer(ports.find_free_port())
    controller = Controller(office, hostname="127.0.0.1", port=office.port, ready_timeout=WITHIN_SECONDS)
    controller.start()
    try:
        yield office
    finally:
        controller.stop()
