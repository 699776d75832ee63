"""Mails: how one is written, how it is handed to the mail server, and what the server's refusals mean."""

import re
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import aiosmtplib

from libs.observability.tracing import SpanKind, child
from libs.settings import MailSecurity, MailSettings
from libs.tls import outgoing

TIMEOUT = 15.0  # seconds for each step of the conversation
WORD = r"[^@.\s<>,;:\"()\[\]\\]+"
ADDRESS = re.compile(rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){WORD}(\.{WORD})*@{WORD}(\.{WORD})*")
DETAIL = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # "5.1.1" and the like, the only part of an answer that names nobody


class MailFailed(Exception):
    """The mail server did not take the mail. The text is in words and holds no address and no login."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final  # another try would end the same way


def is_address(text: str) -> bool:
    return text.isprintable() and ADDRESS.fullmatch(text) is not None


def write(sender: str, recipient: str, title: str, text: str, *, mail_id: str, at: datetime) -> EmailMessage:
    """The same `mail_id` gives the same Message-ID: a mail that is sent twice after a crash is shown once."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = title
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{mail_id}@{sender.rpartition('@')[2].strip('> ')}>"
    message["Auto-Submitted"] = "auto-generated"  # no out-of-office answers, please
    message.set_content(text)
    return message


def client(settings: MailSettings, ca_file: Path | None = None, patience: float = TIMEOUT) -> aiosmtplib.SMTP:
    """Connects and logs in when it is entered.

    ca_file: authorities to trust besides the system's.
    patience: seconds for each step of the conversation.
    """
    return aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username or None,
        password=settings.password or None,
        use_tls=settings.tls is MailSecurity.TLS,
        start_tls=settings.tls is MailSecurity.STARTTLS,
        tls_context=outgoing(ca_file, besides=True) if settings.tls is not MailSecurity.NONE else None,
        timeout=patience,
    )


async def send(settings: MailSettings, message: EmailMessage, *, ca_file: Path | None = None) -> None:
    """Raises MailFailed."""
    try:
        with child("send mail", SpanKind.CLIENT, {"server.address": settings.host, "server.port": settings.port}):
            async with client(settings, ca_file) as server:
                await server.send_message(message)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise failed(error) from None  # the original carries what the server said, addresses included


def failed(error: Exception) -> MailFailed:
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[first, *_]):
            return failed(first)
        case aiosmtplib.SMTPRecipientRefused():
            return _answered("refused the recipient", error)
        case aiosmtplib.SMTPSenderRefused():
            return _answered("refused the sender", error)
        case aiosmtplib.SMTPAuthenticationError():
            return _answered("refused the login", error)
        case aiosmtplib.SMTPResponseException():
            return _answered("refused the mail", error)
        case aiosmtplib.SMTPNotSupported():
            return MailFailed("the mail server does not support what this mail needs", final=True)
        case ssl.SSLError() | aiosmtplib.SMTPConnectError(__cause__=ssl.SSLError()):
            return MailFailed("no TLS connection that can be trusted came about with the mail server", final=False)
        case TimeoutError():
            return MailFailed("the mail server did not answer in time", final=False)
        case aiosmtplib.SMTPConnectError():
            return MailFailed("the mail server cannot be reached", final=False)
        case OSError():
            return MailFailed("the connection to the mail server was lost", final=False)
        case _:
            return MailFailed("the mail server cannot be used with these settings of TLS and login", final=False)


def _answered(what: str, error: aiosmtplib.SMTPResponseException) -> MailFailed:
    detail = DETAIL.match(error.message)
    words = f"the mail server {what} ({error.code}{f' {detail[0]}' if detail else ''})"
    return MailFailed(words, final=500 <= error.code < 600)
