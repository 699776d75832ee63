"""Emails to a real SMTP server without TLS, with STARTTLS and with implicit TLS, and the classification of refusals."""

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from infra.local import ports
from libs.settings import MailSecurity, MailSettings
from services.notifications.mail import MailFailed, compose, is_address, send
from tests.support.in_process.smtp_server import LOGIN, Mailbox, create_self_signed_certificate, running_mail_server

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SENDER = "Headrace <ci@example.org>"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a self-signed certificate that this process trusts."""
    path = create_self_signed_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def compose_mail(title: str = "Grüße", text: str = "Schöne\n.\nWelt") -> EmailMessage:
    return compose(SENDER, "ann@example.org", title, text, mail_id="n1", at=NOW)


def plain_settings(mailbox: Mailbox) -> MailSettings:
    return MailSettings(host="127.0.0.1", port=mailbox.port, sender=SENDER, tls=MailSecurity.NONE)


def secure_settings(mailbox: Mailbox, tls: MailSecurity, password: str = LOGIN[1]) -> MailSettings:
    return MailSettings(
        host="127.0.0.1", port=mailbox.port, sender=SENDER, username=LOGIN[0], password=password, tls=tls
    )


async def send_expecting_failure(settings: MailSettings) -> MailFailed:
    with pytest.raises(MailFailed) as failure:
        await send(settings, compose_mail())
    return failure.value


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with running_mail_server() as mailbox:
        await send(plain_settings(mailbox), compose_mail())
    (arrived,) = mailbox.mails
    assert arrived["From"] == SENDER
    assert arrived["To"] == "ann@example.org"
    assert arrived["Subject"] == "Grüße"
    assert arrived["Message-ID"] == "<n1@example.org>"
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived.get_content().splitlines() == ["Schöne", ".", "Welt"]


async def test_a_mail_goes_through_starttls_and_login(certificate: Path) -> None:
    async with running_mail_server(certificate=certificate) as mailbox:
        await send(secure_settings(mailbox, MailSecurity.STARTTLS), compose_mail())
    assert len(mailbox.mails) == 1


# aiosmtpd warns although implicit TLS protects the login
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_a_mail_goes_through_tls_and_login(certificate: Path) -> None:
    async with running_mail_server(certificate=certificate, implicit_tls=True) as mailbox:
        await send(secure_settings(mailbox, MailSecurity.TLS), compose_mail())
    assert len(mailbox.mails) == 1


async def test_a_mail_server_with_an_untrusted_certificate_gets_no_mail(tmp_path: Path) -> None:
    async with running_mail_server(certificate=create_self_signed_certificate(tmp_path)) as mailbox:
        failure = await send_expecting_failure(secure_settings(mailbox, MailSecurity.STARTTLS))
    assert failure.reason == "no trusted TLS connection to the mail server could be established"
    assert not failure.is_permanent
    assert not mailbox.mails


async def test_a_mail_server_without_starttls_gets_no_mail() -> None:
    async with running_mail_server() as mailbox:
        failure = await send_expecting_failure(secure_settings(mailbox, MailSecurity.STARTTLS))
    assert failure.reason == "the mail server cannot be used with the configured TLS and login settings"
    assert not mailbox.mails


async def test_a_rejected_mail_login_is_a_permanent_failure_without_the_password(certificate: Path) -> None:
    async with running_mail_server(certificate=certificate) as mailbox:
        failure = await send_expecting_failure(secure_settings(mailbox, MailSecurity.STARTTLS, "a wrong canary"))
    assert failure.is_permanent
    assert failure.reason == "the mail server refused the login (535 5.7.8)"


async def test_an_unknown_recipient_is_a_permanent_failure_without_the_address() -> None:
    async with running_mail_server() as mailbox:
        mailbox.refusals["RCPT"] = "550 5.1.1 <ann@example.org> is not here"
        failure = await send_expecting_failure(plain_settings(mailbox))
    assert failure.is_permanent
    assert failure.reason == "the mail server refused the recipient (550 5.1.1)"


async def test_a_busy_mail_server_is_a_temporary_failure() -> None:
    async with running_mail_server() as mailbox:
        mailbox.refusals["DATA"] = "451 too busy"
        failure = await send_expecting_failure(plain_settings(mailbox))
    assert not failure.is_permanent
    assert failure.reason == "the mail server refused the mail (451)"


async def test_an_unreachable_mail_server_is_a_temporary_failure() -> None:
    failure = await send_expecting_failure(plain_settings(Mailbox(ports.find_free_port())))
    assert not failure.is_permanent
    assert failure.reason == "the mail server cannot be reached"


def test_a_line_break_in_the_subject_cannot_add_a_header() -> None:
    with pytest.raises(ValueError, match="linefeed"):
        compose_mail(title="Hello\r\nBcc: everyone@example.org")


@pytest.mark.parametrize("address", ["ann@example.org", "a.b+c@x", "имя@пример.рф"])
def test_valid_email_addresses_are_recognized(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@x",
        "ann@",
        "a@b@c",
        "a b@x",
        "a@x\n",
        "a@x,b@y",
        "a..b@x",
        ".a@x",
        "a@x.",
        "a@" + "x" * 253,
        "<a@x>",
        "a\x00@x",
        "a" * 65 + "@x",
    ],
)
def test_invalid_email_addresses_are_rejected(text: str) -> None:
    assert not is_address(text)
