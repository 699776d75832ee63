"""TLS on every connection, with an authority of one's own: trusted where it is named, refused in words where not."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from agent.protocol import Protocol, Refused
from contracts.runners import GetRegistrationInfo, RegisterRunner, RegistrationInfo, RunnerRegistration
from infra.local.folder import DataFolder
from infra.local.mongod import mongod
from infra.local.nats import nats_server
from infra.local.process import Process
from libs.hosting import serve
from libs.messaging import Caller, Responder, connect, settled
from libs.settings import MailSecurity, MailSettings, Settings, SettingsError
from libs.version import VERSION
from services.builds.bucket import problem
from services.notifications.mail import MailFailed, send
from services.runners.app import declare
from tests.integration.gateway_stage import serving
from tests.integration.mail_server import LOGIN, mail_server
from tests.integration.stage import Stage
from tests.integration.test_mail import SENDER, mail
from tests.support.authority import Authority, Issued
from tests.support.buckets import s3_server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def settings(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a client that both servers trust: they ask for its certificate."""
    folder = DataFolder(tmp_path_factory.mktemp("servers"))
    folder.prepare()
    with secured_nats(folder, authority) as nats, secured_mongod(folder, authority) as database:
        yield Settings(
            nats_url=nats.program.url.replace("nats://", "tls://"),
            mongodb_url=f"{database.program.url}&tls=true",
            ca_file=authority.file,
            client_certificate=authority.issue("client").both,
            master_keys=(bytes(32),),
            database_prefix=f"test-{uuid4().hex[:8]}",
        )


@contextmanager
def secured_nats(folder: DataFolder, authority: Authority) -> Iterator[Process]:
    program, shown = nats_server(folder, unlimited=True), authority.issue("nats")
    with (folder.path / "nats" / "nats.conf").open("a") as config:
        files = f'cert_file: "{shown.certificate}", key_file: "{shown.key}", ca_file: "{authority.file}"'
        config.write(f"tls {{ {files}, verify: true }}")
    with started(Process(program)) as server:
        yield server


@contextmanager
def secured_mongod(folder: DataFolder, authority: Authority) -> Iterator[Process]:
    """It also takes connections in clear: what looks whether it is ready speaks no TLS."""
    program, shown = mongod(folder), authority.issue("mongod")
    tls = ("--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(shown.both), "--tlsCAFile", str(authority.file))
    with started(Process(replace(program, argv=(*program.argv, *tls)))) as server:
        yield server


@contextmanager
def started(server: Process) -> Iterator[Process]:
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


async def test_a_service_with_its_own_certificate_works_over_tls_to_both_servers(settings: Settings) -> None:
    stage = Stage(settings)
    await stage.migrate(declare())
    async with stage.running(declare), stage.connected() as bus:
        answer = RegistrationInfo.model_validate_json(await Caller(bus).ask(GetRegistrationInfo()))
    assert answer.registration_token


async def test_nats_of_another_authority_is_refused_in_words(settings: Settings, stranger: Authority) -> None:
    with pytest.raises(SettingsError, match=r"^NATS shows a certificate that is not trusted; HEADRACE_CA_FILE names"):
        await connect(replace(settings, ca_file=stranger.file), "test")


async def test_mongodb_of_another_authority_is_refused_in_words(
    settings: Settings, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    with secured_mongod(folder, stranger) as foreign:
        wrong = replace(settings, mongodb_url=f"{foreign.program.url}&tls=true")
        with pytest.raises(SettingsError, match=r"^MongoDB shows a certificate that is not trusted"):
            await asyncio.wait_for(serve(declare(), wrong, asyncio.Event()), 30)


async def test_a_bucket_is_reached_by_the_authority_that_is_named(authority: Authority, tmp_path: Path) -> None:
    shown = authority.issue("bucket")
    with s3_server(tmp_path, tls=(shown.certificate, shown.key, authority.file)) as (_, bucket):
        assert await problem(bucket, "folder", authority.file) is None
        assert "certificate" in str(await problem(bucket, "folder", None))


async def test_a_server_without_tls_does_not_get_the_login_of_an_address_with_tls() -> None:
    heard = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576,"auth_required":true}\r\n')
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(SettingsError, match=r"^NATS speaks no TLS"):
            await connect(Settings(nats_url=f"tls://builds:canary@127.0.0.1:{port}"), "test")
    assert b"canary" not in b"".join(heard)


async def test_a_wrong_login_is_told_in_words_without_the_password(settings: Settings) -> None:
    wrong = settings.nats_url.replace("@", "wrong@")
    with pytest.raises(SettingsError, match=r"^NATS refuses the login of HEADRACE_NATS_URL.$"):
        await connect(replace(settings, nats_url=wrong), "test")


def test_a_file_without_certificates_is_named(settings: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    with pytest.raises(SettingsError, match=f"^HEADRACE_CA_FILE: {empty} holds no certificates"):
        asyncio.run(connect(replace(settings, ca_file=empty), "test"))


# ---- the gateway


@pytest.fixture
def shown(authority: Authority) -> Issued:
    return authority.issue("gateway")


@pytest.fixture
def secured(settings: Settings, shown: Issued) -> Settings:
    return replace(settings, tls_certificate=shown.certificate, tls_key=shown.key)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.file)


async def test_the_gateway_speaks_tls(secured: Settings, authority: Authority, stranger: Authority) -> None:
    async with serving(secured) as (_, _, url):
        async with httpx.AsyncClient(base_url=url, verify=trusting(authority)) as http:
            assert (await http.get("/healthz")).json() == {"alive": True, "version": VERSION}
        async with httpx.AsyncClient(base_url=url, verify=trusting(stranger)) as http:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get("/healthz")


async def test_a_renewed_certificate_is_shown_once_its_files_fit_together(
    secured: Settings, shown: Issued, authority: Authority
) -> None:
    async def serial_number() -> str:
        """Of what the gateway shows now."""
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(authority))
        found = str(writer.get_extra_info("peercert")["serialNumber"])
        writer.close()
        await writer.wait_closed()
        return found

    renewed = authority.issue("gateway")
    async with serving(secured) as (_, server, url):
        port = httpx.URL(url).port
        before = await serial_number()
        shown.certificate.write_bytes(renewed.certificate.read_bytes())
        await server.on_tick(0)
        assert await serial_number() == before
        shown.key.write_bytes(renewed.key.read_bytes())
        await server.on_tick(0)
        assert await serial_number() != before


async def test_an_agent_trusts_the_authority_it_was_told_of(
    secured: Settings, authority: Authority, stranger: Authority
) -> None:
    bus = await connect(secured, "runners")
    responder = Responder(bus, "runners")

    async def register(_body: bytes, _headers: object) -> bytes:
        return RunnerRegistration(id=7, uuid="u", token="t").model_dump_json().encode()

    await responder.answer(RegisterRunner, register)
    await settled(bus)
    async with serving(secured) as (_, _, url):
        async with Protocol(url, ca_file=str(authority.file)) as protocol:
            assert (await protocol.register("token")).id == 7
        async with Protocol(url, ca_file=str(stranger.file)) as protocol:
            with pytest.raises(Refused, match="--ca-file names the authorities to trust"):
                await protocol.register("token")
    await bus.close()


# ---- mails


async def test_a_mail_server_is_trusted_by_the_authority_that_was_named(
    authority: Authority, stranger: Authority
) -> None:
    async with mail_server(certificate=authority.issue("mail").both) as mailbox:
        settings = MailSettings("127.0.0.1", mailbox.port, SENDER, *LOGIN, MailSecurity.STARTTLS)
        await send(settings, mail(), ca_file=authority.file)
        with pytest.raises(MailFailed, match="no TLS connection that can be trusted"):
            await send(settings, mail(), ca_file=stranger.file)
    assert len(mailbox.mails) == 1
