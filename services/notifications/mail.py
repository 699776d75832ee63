"""Composition and delivery of e-mail over SMTP, and the interpretation of SMTP errors."""

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
from services.notifications.attempts import DeliveryFailed

TIMEOUT_SECONDS = 15.0  # for each SMTP command
WORD_PATTERN = r"[^@.\s<>,;:\"()\[\]\\]+"
ADDRESS_PATTERN = re.compile(
    rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){WORD_PATTERN}(\.{WORD_PATTERN})*@{WORD_PATTERN}(\.{WORD_PATTERN})*"
)
# enhanced status code (RFC 3463); the rest of a reply may contain addresses
ENHANCED_STATUS_PATTERN = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class MailFailed(DeliveryFailed):
    """The mail was not accepted. `reason` contains no address and no login."""


def is_address(text: str) -> bool:
    return text.isprintable() and ADDRESS_PATTERN.fullmatch(text) is not None


def compose(sender: str, recipient: str, title: str, text: str, *, mail_id: str, at: datetime) -> EmailMessage:
    """Return a message. Its Message-ID is derived from `mail_id`, so it stays the same if the mail is sent twice."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = title
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{mail_id}@{sender.rpartition('@')[2].strip('> ')}>"
    message["Auto-Submitted"] = "auto-generated"  # suppresses out-of-office replies (RFC 3834)
    message.set_content(text)
    return message


def smtp_client(
    settings: MailSettings, ca_file: Path | None = None, timeout: float = TIMEOUT_SECONDS
) -> aiosmtplib.SMTP:
    """Return an SMTP client that connects and logs in when entered as a context manager.

    `ca_file`: certificate authorities to trust in addition to the system's. `timeout`: seconds for each SMTP command.
    """
    tls_context = None
    if settings.tls is not MailSecurity.NONE:
        tls_context = create_client_context(ca_file, keep_system_authorities=True)
    return aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username or None,
        password=settings.password or None,
        use_tls=settings.tls is MailSecurity.TLS,
        start_tls=settings.tls is MailSecurity.STARTTLS,
        tls_context=tls_context,
        timeout=timeout,
    )


async def send(settings: MailSettings, message: EmailMessage, *, ca_file: Path | None = None) -> None:
    """Send the message. Raises MailFailed."""
    try:
        with child_span("send mail", SpanKind.CLIENT, {"server.address": settings.host, "server.port": settings.port}):
            async with smtp_client(settings, ca_file) as server:
                await server.send_message(message)
    except (aiosmtplib.SMTPException, OSError) as error:
        # the original error contains the reply of the server, which may contain addresses
        raise to_mail_failed(error) from None


def to_mail_failed(error: Exception) -> MailFailed:
    """Return the failure that corresponds to an error of the SMTP client."""
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
            return MailFailed("no trusted TLS connection to the mail server could be established", is_permanent=False)
        case TimeoutError():
            return MailFailed("the mail server did not answer in time", is_permanent=False)
        case aiosmtplib.SMTPConnectError():
            return MailFailed("the mail server cannot be reached", is_permanent=False)
        case OSError():
            return MailFailed("the connection to the mail server was lost", is_permanent=False)
        case _:
            return MailFailed(
                "the mail server cannot be used with the configured TLS and login settings", is_permanent=False
            )


def _to_rejection(action: str, error: aiosmtplib.SMTPResponseException) -> MailFailed:
    status = ENHANCED_STATUS_PATTERN.match(error.message)
    codes = f"{error.code} {status[0]}" if status else str(error.code)
    return MailFailed(f"the mail server {action} ({codes})", is_permanent=500 <= error.code < 600)
