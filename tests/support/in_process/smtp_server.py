"""An SMTP server on a loopback port, with or without TLS and login. It stores the e-mails it receives."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.waiting import WITHIN_SECONDS

LOGIN = ("mailer", "a canary password")


@dataclass
class Mailbox:
    """The handler of the SMTP server: it refuses as configured, or stores the e-mail."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)  # SMTP command ("RCPT" or "DATA") -> reply that refuses it
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if "RCPT" in self.refusals:
            return self.refusals["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if "DATA" in self.refusals:
            return self.refusals["DATA"]
        async with self.arrived:
            self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default))
            self.arrived.notify_all()
        return "250 OK"

    async def wait_for_mail(self) -> EmailMessage:
        async with asyncio.timeout(WITHIN_SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: bool(self.mails))
        return self.mails[0]


def check_login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: LoginPassword) -> AuthResult:
    known = (given.login.decode(), given.password.decode()) == LOGIN
    return AuthResult(success=known, handled=known)  # with `handled=False`, aiosmtpd replies 535


@asynccontextmanager
async def running_mail_server(
    *, port: int = 0, certificate: Path | None = None, implicit_tls: bool = False
) -> AsyncIterator[Mailbox]:
    """Run an SMTP server. With a certificate, it requires TLS (STARTTLS or implicit) and a login."""
    mailbox = Mailbox()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)

    def protocol() -> SMTP:
        return SMTP(
            mailbox,
            hostname="mail.test",
            tls_context=None if implicit_tls else context,
            require_starttls=bool(context) and not implicit_tls,
            authenticator=check_login,
            auth_required=bool(context),
            auth_require_tls=not implicit_tls,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if implicit_tls else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()


def create_self_signed_certificate(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1, with its key, to one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "mail.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
