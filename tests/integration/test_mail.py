"""Mails reach a real SMTP server, in clear, with STARTTLS and with TLS, and its refusals are understood."""

from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from libs.settings import MailSecurity, MailSettings
from services.notifications.mail import MailFailed, is_address, send, write
from tests.integration.mail_server import LOGIN, Mailbox, mail_server, self_signed

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SENDER = "Headrace <ci@example.org>"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate that this process trusts as it would trust one of the system's."""
    path = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def mail(title: str = "Grüße", text: str = "Schöne\n.\nWelt") -> EmailMessage:
    return write(SENDER, "ann@example.org", title, text, mail_id="n1", at=NOW)


def plain(mailbox: Mailbox) -> MailSettings:
    return MailSettings(host="127.0.0.1", port=mailbox.port, sender=SENDER, tls=MailSecurity.NONE)


def secure(mailbox: Mailbox, tls: MailSecurity, password: str = LOGIN[1]) -> MailSettings:
    return MailSettings("127.0.0.1", mailbox.port, SENDER, LOGIN[0], password, tls)


async def failure_of(settings: MailSettings) -> MailFailed:
    with pytest.raises(MailFailed) as failure:
        await send(settings, mail())
    return failure.value


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with mail_server() as mailbox:
        await send(plain(mailbox), mail())
    (arrived,) = mailbox.mails
    assert arrived["From"] == SENDER
    assert arrived["To"] == "ann@example.org"
    assert arrived["Subject"] == "Grüße"
    assert arrived["Message-ID"] == "<n1@example.org>"
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived.get_content().splitlines() == ["Schöne", ".", "Welt"]


async def test_a_mail_goes_through_starttls_and_login(certificate: Path) -> None:
    async with mail_server(certificate=certificate) as mailbox:
        await send(secure(mailbox, MailSecurity.STARTTLS), mail())
    assert len(mailbox.mails) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # of the server: TLS is there already
async def test_a_mail_goes_through_tls_and_login(certificate: Path) -> None:
    async with mail_server(certificate=certificate, implicit_tls=True) as mailbox:
        await send(secure(mailbox, MailSecurity.TLS), mail())
    assert len(mailbox.mails) == 1


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    async with mail_server(certificate=self_signed(tmp_path)) as mailbox:
        failure = await failure_of(secure(mailbox, MailSecurity.STARTTLS))
    assert failure.reason == "no TLS connection that can be trusted came about with the mail server"
    assert not failure.final
    assert not mailbox.mails


async def test_a_server_without_starttls_gets_no_mail_in_clear() -> None:
    async with mail_server() as mailbox:
        failure = await failure_of(secure(mailbox, MailSecurity.STARTTLS))
    assert failure.reason == "the mail server cannot be used with these settings of TLS and login"
    assert not mailbox.mails


async def test_a_wrong_password_is_final_and_not_repeated_in_the_reason(certificate: Path) -> None:
    async with mail_server(certificate=certificate) as mailbox:
        failure = await failure_of(secure(mailbox, MailSecurity.STARTTLS, "a wrong canary"))
    assert failure.final
    assert failure.reason == "the mail server refused the login (535 5.7.8)"


async def test_an_unknown_recipient_is_final_and_not_named() -> None:
    async with mail_server() as mailbox:
        mailbox.refusals["RCPT"] = "550 5.1.1 <ann@example.org> is not here"
        failure = await failure_of(plain(mailbox))
    assert failure.final
    assert failure.reason == "the mail server refused the recipient (550 5.1.1)"


async def test_a_busy_server_may_be_asked_again() -> None:
    async with mail_server() as mailbox:
        mailbox.refusals["DATA"] = "451 too busy"
        failure = await failure_of(plain(mailbox))
    assert not failure.final
    assert failure.reason == "the mail server refused the mail (451)"


async def test_a_server_that_is_down_may_be_asked_again() -> None:
    async with mail_server() as mailbox:
        pass
    failure = await failure_of(plain(mailbox))
    assert not failure.final
    assert failure.reason == "the mail server cannot be reached"


def test_a_line_break_cannot_add_a_header() -> None:
    with pytest.raises(ValueError, match="linefeed"):
        mail(title="Hello\r\nBcc: everyone@example.org")


@pytest.mark.parametrize("address", ["ann@example.org", "a.b+c@x", "имя@пример.рф"])
def test_addresses_are_recognised(address: str) -> None:
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
def test_other_texts_are_no_addresses(text: str) -> None:
    assert not is_address(text)
