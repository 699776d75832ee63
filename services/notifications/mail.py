"""Mails: how one is written, how it is handed to the mail server, and what the server's refusals mean."""

import re
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import aiosmtplib

from libs.observability.tracing import SpanKind, child_span
from libs.security.tls import create_client_context
from libs.settings import MailSecurity, MailSettings

TIMEOUT_SECONDS = 15.0  # seconds for each step of the conversation
WORD_PATTERN = r"[^@.\s<>,;:\"()\[\]\\]+"
ADDRESS_PATTERN = re.compile(
    rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){WORD_PATTERN}(\.{WORD_PATTERN})*@{WORD_PATTERN}(\.{WORD_PATTERN})*"
)
ENHANCED_STATUS_PATTERN = re.compile(
    r"[245]\.\d{1,3}\.\d{1,3}"
)  # "5.1.1" and the like, the only part of an answer that names nobody


class MailFailed(Exception):
    """The mail server did not take the mail. The text is in words and holds no address and no login."""

    def __init__(self, reason: str, *, is_permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_permanent = is_permanent  # another try would end the same way


def is_address(text: str) -> bool:
    return text.isprintable() and ADDRESS_PATTERN.fullmatch(text) is not None


def compose(sender: str, recipient: str, title: str, text: str, *, mail_id: str, at: datetime) -> EmailMessage:
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


def smtp_client(
    settings: MailSettings, ca_file: Path | None = None, timeout: float = TIMEOUT_SECONDS
) -> aiosmtplib.SMTP:
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
        tls_context=create_client_context(ca_file, keep_system_authorities=True)
        if settings.tls is not MailSecurity.NONE
        else None,
        timeout=timeout,
    )


async def send(settings: MailSettings, message: EmailMessage, *, ca_file: Path | None = None) -> None:
    """Raises MailFailed."""
    try:
        with child_span("send mail", SpanKind.CLIENT, {"server.address": settings.host, "server.port": settings.port}):
            async with smtp_client(settings, ca_file) as server:
                await server.send_message(message)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise to_mail_failed(error) from None  # the original carries what the server said, addresses included


def to_mail_failed(error: Exception) -> MailFailed:
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[first, *_]):
            return to_mail_failed(first)
        case aiosmtplib.SMTPRecipientRefused():
            return _to_rejection("refused the recipient", error)
        case aiosmtplib.SMTPSenderRefused():
            return _to_rejection("refused the sender", error)
        case aiosmtplib.SMTPAuthenticationError():
            return _to_rejection("refused the login", error)
        case aiosmtplib.SMTPResponseException():
            return _to_rejection("refused the mail", error)
        case aiosmtplib.SMTPNotSupported():
            return MailFailed("the mail server does not support what this mail needs", is_permanent=True)
        case ssl.SSLError() | aiosmtplib.SMTPConnectError(__cause__=ssl.SSLError()):
            return MailFailed(
                "no TLS connection that can be trusted came about with the mail server", is_permanent=False
            )
        case TimeoutError():
            return MailFailed("the mail server did not answer in time", is_permanent=False)
        case aiosmtplib.SMTPConnectError():
            return MailFailed("the mail server cannot be reached", is_permanent=False)
        case OSError():
            return MailFailed("the connection to the mail server was lost", is_permanent=False)
        case _:
            return MailFailed("the mail server cannot be used with these settings of TLS and login", is_permanent=False)


def _to_rejection(what: str, error: aiosmtplib.SMTPResponseException) -> MailFailed:
    detail = ENHANCED_STATUS_PATTERN.match(error.message)
    words = f"the mail server {what} ({error.code}{f' {detail[0]}' if detail else ''})"
    return MailFailed(words, is_permanent=500 <= error.code < 600)
