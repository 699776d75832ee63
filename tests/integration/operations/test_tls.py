"""TLS on every connection with a private certificate authority, and errors for untrusted certificates."""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse
from uuid import uuid4

import httpx
import pytest

from agent.protocol.client import ProtocolClient
from agent.protocol.responses import RequestFailed
from contracts.runners import RegisterRunner, RegistrationInfo, RevealRegistrationToken, RunnerRegistration
from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_program
from infra.local.nats_server import nats_server_program
from infra.local.process import Process
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_client import NatsTransport
from libs.messaging.nats_connection import connect, flush_to_server
from libs.messaging.request_reply import MessageClient
from libs.service.service_host import serve
from libs.settings import MailSecurity, MailSettings, Settings, SettingsError
from libs.version import VERSION
from services.builds.artifacts.s3_storage import find_bucket_problem
from services.notifications.mail import MailFailed, send
from services.runners.app import create_service
from tests.integration.services.test_mail import SENDER, compose_mail
from tests.support.external.certificates import CertificateAuthority, IssuedCertificate
from tests.support.external.s3_server import s3_server
from tests.support.in_process.gateway_stage import running_gateway
from tests.support.in_process.service_stage import ServiceStage
from tests.support.in_process.smtp_server import LOGIN, running_mail_server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def settings(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = DataFolder(tmp_path_factory.mktemp("servers"))
    folder.prepare()
    with running_tls_nats(folder, authority) as nats, running_tls_mongod(folder, authority) as database:
        yield Settings(
            nats_url=nats.program.url.replace("nats://", "tls://"),
            mongodb_url=f"{database.program.url}&tls=true",
            ca_file=authority.certificate_file,
            client_certificate=authority.issue("client").combined,
            master_keys=(bytes(32),),
            database_prefix=f"test-{uuid4().hex[:8]}",
        )


@contextmanager
def running_tls_nats(folder: DataFolder, authority: CertificateAuthority) -> Iterator[Process]:
    program, shown = nats_server_program(folder, unlimited=True), authority.issue("nats")
    with (folder.path / "nats" / "nats.conf").open("a") as config:
        files = f'cert_file: "{shown.certificate}", key_file: "{shown.key}", ca_file: "{authority.certificate_file}"'
        config.write(f"tls {{ {files}, verify: true }}")
    with running_process(Process(program)) as server:
        yield server


@contextmanager
def running_tls_mongod(folder: DataFolder, authority: CertificateAuthority) -> Iterator[Process]:
    """Run a mongod that accepts plain connections too, because the readiness check uses no TLS."""
    program, shown = mongod_program(folder), authority.issue("mongod")
    tls = (
        "--tlsMode",
        "preferTLS",
        "--tlsCertificateKeyFile",
        str(shown.combined),
        "--tlsCAFile",
        str(authority.certificate_file),
    )
    with running_process(Process(replace(program, argv=(*program.argv, *tls)))) as server:
        yield server


@contextmanager
def running_process(server: Process) -> Iterator[Process]:
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


async def test_a_service_uses_tls_with_a_client_certificate_to_nats_and_mongodb(settings: Settings) -> None:
    stage = ServiceStage(settings)
    await stage.migrate(create_service())
    async with stage.running(create_service), stage.connected() as bus:
        answer = RegistrationInfo.model_validate_json(await MessageClient(bus).send(RevealRegistrationToken()))
    assert answer.registration_token


async def test_a_nats_certificate_of_an_untrusted_authority_is_rejected(
    settings: Settings, other_authority: CertificateAuthority
) -> None:
    with pytest.raises(SettingsError, match=r"^The certificate of NATS is not trusted; set HEADRACE_CA_FILE"):
        await connect(settings.model_copy(update={"ca_file": other_authority.certificate_file}), "test")


async def test_a_mongodb_certificate_of_an_untrusted_authority_is_rejected(
    settings: Settings, authority: CertificateAuthority, other_authority: CertificateAuthority, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    with running_tls_mongod(folder, other_authority) as foreign:
        wrong = settings.model_copy(update={"mongodb_url": f"{foreign.program.url}&tls=true"})
        with pytest.raises(SettingsError, match=r"^The certificate of MongoDB is not trusted"):
            await asyncio.wait_for(serve(create_service(), wrong, asyncio.Event()), 30)


async def test_a_bucket_certificate_is_verified_with_the_configured_authority(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    shown = authority.issue("bucket")
    with s3_server(tmp_path, tls=(shown.certificate, shown.key, authority.certificate_file)) as (_, bucket):
        assert await find_bucket_problem(bucket, "folder", authority.certificate_file) is None
        assert "certificate" in str(await find_bucket_problem(bucket, "folder", None))


async def test_a_nats_server_without_tls_receives_no_login_for_a_tls_url() -> None:
    received = []

    async def act_as_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true}\r\n')
        received.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(act_as_server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(SettingsError, match=r"^The NATS server does not use TLS"):
            await connect(Settings(nats_url=f"tls://builds:canary@127.0.0.1:{port}"), "test")
    assert b"canary" not in b"".join(received)


async def test_a_tls_connection_whose_close_is_canceled_leaves_no_open_socket(
    authority: CertificateAuthority, recwarn: pytest.WarningsRecorder
) -> None:
    """asyncio warns about an open socket when its stream is garbage-collected."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("nats").combined)
    closed = threading.Event()

    def accept_and_ignore_the_close(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True):
            closed.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(accept_and_ignore_the_close, listening))
        transport = NatsTransport()
        await transport.connect(urlparse(f"tls://127.0.0.1:{listening.getsockname()[1]}"), 32768, 2)
        await transport.connect_tls("127.0.0.1", trust_only(authority), 32768, 2)
        transport.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(transport.wait_closed(), 0.05)
        del transport
        gc.collect()
        closed.set()
        await serving
    assert [str(warning.message) for warning in recwarn if "unclosed" in str(warning.message)] == []


async def test_a_rejected_nats_login_is_reported_without_the_password(settings: Settings) -> None:
    wrong = settings.nats_url.replace("@", "wrong@")
    with pytest.raises(SettingsError, match=r"^NATS rejects the login in HEADRACE_NATS_URL.$"):
        await connect(settings.model_copy(update={"nats_url": wrong}), "test")


def test_an_authority_file_without_certificates_is_named(settings: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    with pytest.raises(SettingsError, match=f"^HEADRACE_CA_FILE: {empty} contains no certificates"):
        asyncio.run(connect(settings.model_copy(update={"ca_file": empty}), "test"))


@pytest.fixture
def gateway_certificate(authority: CertificateAuthority) -> IssuedCertificate:
    return authority.issue("gateway")


@pytest.fixture
def tls_settings(settings: Settings, gateway_certificate: IssuedCertificate) -> Settings:
    return settings.model_copy(
        update={"tls_certificate": gateway_certificate.certificate, "tls_key": gateway_certificate.key}
    )


def trust_only(authority: CertificateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.certificate_file)


async def test_the_gateway_serves_https(
    tls_settings: Settings, authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    async with running_gateway(tls_settings) as (_, _, url):
        async with httpx.AsyncClient(base_url=url, verify=trust_only(authority)) as http:
            assert (await http.get("/healthz")).json() == {"alive": True, "version": VERSION}
        async with httpx.AsyncClient(base_url=url, verify=trust_only(other_authority)) as http:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get("/healthz")


async def test_the_gateway_reloads_a_renewed_certificate_when_its_files_match(
    tls_settings: Settings, gateway_certificate: IssuedCertificate, authority: CertificateAuthority
) -> None:
    async def serial_number() -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust_only(authority))
        found = str(writer.get_extra_info("peercert")["serialNumber"])
        writer.close()
        await writer.wait_closed()
        return found

    renewed = authority.issue("gateway")
    async with running_gateway(tls_settings) as (_, server, url):
        port = httpx.URL(url).port
        before = await serial_number()
        gateway_certificate.certificate.write_bytes(renewed.certificate.read_bytes())
        await server.on_tick(0)
        assert await serial_number() == before
        gateway_certificate.key.write_bytes(renewed.key.read_bytes())
        await server.on_tick(0)
        assert await serial_number() != before


async def test_an_agent_trusts_only_the_configured_authority(
    tls_settings: Settings, authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    bus = await connect(tls_settings, "runners")
    responder = MessageServer(bus, "runners")

    async def register(_body: bytes, _headers: object) -> bytes:
        return RunnerRegistration(id=7, uuid="u", token="t").model_dump_json().encode()

    await responder.serve(RegisterRunner, register)
    await flush_to_server(bus)
    async with running_gateway(tls_settings) as (_, _, url):
        async with ProtocolClient(url, ca_file=str(authority.certificate_file)) as protocol:
            assert (await protocol.register("token")).id == 7
        async with ProtocolClient(url, ca_file=str(other_authority.certificate_file)) as protocol:
            with pytest.raises(RequestFailed, match="set the CA certificates to trust with --ca-file"):
                await protocol.register("token")
    await bus.close()


async def test_a_mail_server_certificate_is_verified_with_the_configured_authority(
    authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    async with running_mail_server(certificate=authority.issue("mail").combined) as mailbox:
        settings = MailSettings(
            host="127.0.0.1",
            port=mailbox.port,
            sender=SENDER,
            username=LOGIN[0],
            password=LOGIN[1],
            tls=MailSecurity.STARTTLS,
        )
        await send(settings, compose_mail(), ca_file=authority.certificate_file)
        with pytest.raises(MailFailed, match="no trusted TLS connection"):
            await send(settings, compose_mail(), ca_file=other_authority.certificate_file)
    assert len(mailbox.mails) == 1
