"""Settings from environment variables (HEADRACE_...), validated once at start."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress

Network = IPv4Network | IPv6Network
SECRET_VARIABLES = (
    "HEADRACE_ADMIN_PASSWORD",
    "HEADRACE_BACKUP_KEY",
    "HEADRACE_MAIL_PASSWORD",
    "HEADRACE_MASTER_KEY",
    "HEADRACE_MONGODB_URL",
    "HEADRACE_NATS_URL",
    "HEADRACE_REGISTRATION_TOKEN",
    "HEADRACE_S3_ACCESS_KEY",
    "HEADRACE_S3_SECRET_KEY",
)


class SettingsError(ValueError):
    """A setting is invalid. The message is one sentence for the operator."""


class MailSecurity(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class MailSettings:
    host: str = ""  # empty: notifications are recorded but not sent
    port: int = 587
    sender: str = "headrace@localhost"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: MailSecurity = MailSecurity.STARTTLS


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """The bucket of an S3-compatible object store."""

    name: str
    endpoint: str = ""  # empty: Amazon S3 of the region
    region: str = "us-east-1"
    access_key: str = field(default="", repr=False)  # empty: credentials of the host or pod
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Server URLs contain logins, so they are excluded from the repr, as are passwords."""

    host: str = "127.0.0.1"
    port: int = 8080
    url: str = "http://127.0.0.1:8080"  # without a trailing slash
    data: Path = Path(".headrace")
    admin_username: str = "admin"
    admin_password: str = field(default="", repr=False)
    mongodb_url: str = field(default="", repr=False)  # empty: the embedded server
    nats_url: str = field(default="", repr=False)  # URL of one or several servers; empty: the embedded server
    master_keys: tuple[bytes, ...] = field(default=(), repr=False)  # the first wraps; older keys only unwrap
    backup_key: str = field(default="", repr=False)  # key or passphrase that encrypts backups
    mail: MailSettings = MailSettings()
    registration_token: str = field(default="", repr=False)  # initial token for runners; empty: generated
    replicas: int = 1
    stream_replicas: int = 1  # replicas of each JetStream stream
    instance: str = "local"
    health_port: int = 0  # 0: any free port
    local_repositories: bool = False
    wait_seconds: float = 120.0  # how long a command waits for servers that are starting
    leave_seconds: float = 0.0  # how long a gateway keeps serving after SIGTERM
    long_poll_seconds: float = 30.0
    job_lease_seconds: float = 60.0
    runner_offline_seconds: float = 90.0
    build_timeout_seconds: int = 3600
    mirror_megabytes: int = 4096  # MiB for bare clones of repositories per builds replica
    artifact_megabytes: int = 100  # MiB per artifact
    bucket: BucketSettings | None = None  # for artifacts; None: they are stored in the database
    token_seconds: int = 3600
    static: Path | None = None  # folder of static files that the gateway serves
    ca_file: Path | None = None  # CA certificates for NATS, MongoDB, mail server and bucket; None: the system's
    client_certificate: Path | None = None  # with its key, for NATS and MongoDB
    tls_certificate: Path | None = None  # certificate of the gateway
    tls_key: Path | None = None
    login_failures: int = 10
    login_address_failures: int = 100
    login_seconds: float = 300.0
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: tuple[str, ...] = ("*",)  # origins of web pages that may call the API
    database_prefix: str = "headrace"
    otlp_endpoint: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        read = _Reader(resolve_secret_files(environ))
        host = read.text("HEADRACE_HOST", "127.0.0.1")
        port = read.integer("HEADRACE_PORT", 8080, 1, 65535)
        certificate, key = read.file("HEADRACE_TLS_CERTIFICATE"), read.file("HEADRACE_TLS_KEY")
        if (certificate is None) != (key is None):
            raise SettingsError("HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY must be set together.")
        return cls(
            host=host,
            port=port,
            url=read.url("HEADRACE_URL", _address(host, port, "https" if certificate else "http")),
            data=Path(read.text("HEADRACE_DATA", ".headrace")).expanduser().absolute(),
            admin_username=read.text("HEADRACE_ADMIN_USERNAME", "admin"),
            admin_password=read.text("HEADRACE_ADMIN_PASSWORD", ""),
            mongodb_url=read.url("HEADRACE_MONGODB_URL", "", "mongodb", "mongodb+srv"),
            nats_url=read.nats("HEADRACE_NATS_URL"),
            master_keys=read.keys("HEADRACE_MASTER_KEY"),
            backup_key=read.text("HEADRACE_BACKUP_KEY", ""),
            mail=MailSettings(
                host=read.text("HEADRACE_MAIL_HOST", ""),
                port=read.integer("HEADRACE_MAIL_PORT", 587, 1, 65535),
                sender=read.text("HEADRACE_MAIL_FROM", "headrace@localhost"),
                username=read.text("HEADRACE_MAIL_USERNAME", ""),
                password=read.text("HEADRACE_MAIL_PASSWORD", ""),
                tls=read.mail_security("HEADRACE_MAIL_TLS"),
            ),
            registration_token=read.text("HEADRACE_REGISTRATION_TOKEN", ""),
            replicas=read.integer("HEADRACE_REPLICAS", 1, 1, 32),
            stream_replicas=read.integer("HEADRACE_STREAM_REPLICAS", 1, 1, 5),
            instance=read.text("HEADRACE_INSTANCE", environ.get("HOSTNAME") or "local"),
            health_port=read.integer("HEADRACE_HEALTH_PORT", 0, 0, 65535),
            local_repositories=read.boolean("HEADRACE_LOCAL_REPOSITORIES", default=False),
            wait_seconds=read.seconds("HEADRACE_WAIT_SECONDS", 120, 0),
            leave_seconds=read.seconds("HEADRACE_LEAVE_SECONDS", 0, 0),
            long_poll_seconds=read.seconds("HEADRACE_LONG_POLL_SECONDS", 30, 2),
            job_lease_seconds=read.seconds("HEADRACE_JOB_LEASE_SECONDS", 60, 1),
            runner_offline_seconds=read.seconds("HEADRACE_RUNNER_OFFLINE_SECONDS", 90, 1),
            build_timeout_seconds=read.integer("HEADRACE_BUILD_TIMEOUT_SECONDS", 3600, 1, 10**9),
            mirror_megabytes=read.integer("HEADRACE_MIRROR_MEGABYTES", 4096, 1, 10**7),
            artifact_megabytes=read.integer("HEADRACE_ARTIFACT_MEGABYTES", 100, 1, 100_000),
            bucket=_bucket(read),
            token_seconds=read.integer("HEADRACE_TOKEN_SECONDS", 3600, 1, 10**9),
            static=read.file("HEADRACE_STATIC"),
            ca_file=read.file("HEADRACE_CA_FILE"),
            client_certificate=read.file("HEADRACE_CLIENT_CERTIFICATE"),
            tls_certificate=certificate,
            tls_key=key,
            login_failures=read.integer("HEADRACE_LOGIN_FAILURES", 10, 1, 10**6),
            login_address_failures=read.integer("HEADRACE_LOGIN_ADDRESS_FAILURES", 100, 1, 10**6),
            login_seconds=read.seconds("HEADRACE_LOGIN_SECONDS", 300, 1),
            trusted_proxies=read.networks("HEADRACE_TRUSTED_PROXIES"),
            cors_origins=tuple(read.text("HEADRACE_CORS_ORIGINS", "*").replace(",", " ").split()),
            database_prefix=read.text("HEADRACE_DATABASE_PREFIX", "headrace"),
            otlp_endpoint=read.url("OTEL_EXPORTER_OTLP_ENDPOINT", "", "http", "https"),
        )

    def require_servers(self, *, bus_alone: bool = False) -> None:
        """Raise SettingsError if a required server URL or the master key is not set.

        With `bus_alone`, for the gateway, only the URL of NATS is required.
        """
        for variable, value, needed in (
            ("HEADRACE_MONGODB_URL", self.mongodb_url, not bus_alone),
            ("HEADRACE_NATS_URL", self.nats_url, True),
            ("HEADRACE_MASTER_KEY", self.master_keys, not bus_alone),
        ):
            if needed and not value:
                raise SettingsError(f"{variable} is not set; set it, or let `headrace up` start everything.")

    def database(self, service: str) -> str:
        return f"{self.database_prefix}_{service}"


def _address(host: str, port: int, scheme: str) -> str:
    """Return the URL for a client on this host, with loopback instead of a wildcard address."""
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def _bucket(read: "_Reader") -> BucketSettings | None:
    bucket = BucketSettings(
        name=read.text("HEADRACE_S3_BUCKET", ""),
        endpoint=read.url("HEADRACE_S3_ENDPOINT", ""),
        region=read.text("HEADRACE_S3_REGION", "us-east-1"),
        access_key=read.text("HEADRACE_S3_ACCESS_KEY", ""),
        secret_key=read.text("HEADRACE_S3_SECRET_KEY", ""),
    )
    if bool(bucket.access_key) != bool(bucket.secret_key):
        raise SettingsError("HEADRACE_S3_ACCESS_KEY and HEADRACE_S3_SECRET_KEY must be set together.")
    if (bucket.endpoint or bucket.access_key) and not bucket.name:
        raise SettingsError("HEADRACE_S3_BUCKET is not set, but other HEADRACE_S3_ settings are.")
    return bucket if bucket.name else None


def resolve_secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with HEADRACE_X read from the file HEADRACE_X_FILE, for every secret X."""
    plain = dict(environ)
    for name in SECRET_VARIABLES:
        path = plain.pop(f"{name}_FILE", "").strip()
        if path and plain.get(name, "").strip():
            raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
        if path:
            plain[name] = _content(f"{name}_FILE", Path(path).expanduser())
    return plain


def _content(variable: str, file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # the error would show a part of the file
        raise SettingsError(f"{variable}: {file} is not a text file.") from None
    except OSError as error:
        raise SettingsError(f"{variable}: {file} cannot be read ({error.strerror}).") from None
    if not text.strip():
        raise SettingsError(f"{variable}: {file} is empty.")
    return text


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads and validates variables. An empty variable counts as not set. Methods raise SettingsError."""

    environ: Mapping[str, str] = field(repr=False)

    def text(self, name: str, default: str) -> str:
        return self.environ.get(name, "").strip() or default

    def file(self, name: str) -> Path | None:
        """Return the absolute path of a file or folder."""
        text = self.text(name, "")
        return Path(text).expanduser().absolute() if text else None

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        text = self.text(name, str(default))
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise SettingsError(f"{name} must be a whole number from {lowest} to {highest}, not {text!r}.")
        return int(text)

    def seconds(self, name: str, default: float, lowest: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not lowest <= value <= 10**9:  # also false for "nan"
            raise SettingsError(f"{name} must be a number of seconds, at least {lowest:g}, not {text!r}.")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        text = self.text(name, str(default)).lower()
        if text not in {"true", "false", "1", "0", "yes", "no"}:
            raise SettingsError(f"{name} must be true or false, not {text!r}.")
        return text in {"true", "1", "yes"}

    def url(self, name: str, default: str, *schemes: str) -> str:
        """Return a URL. The error does not contain the value, which may include a login."""
        schemes = schemes or ("http", "https")
        text = self.text(name, default)
        if text and text.partition("://")[0] not in schemes:
            raise SettingsError(f"{name} must be a URL that starts with {' or '.join(s + '://' for s in schemes)}.")
        return text.rstrip("/") if schemes[0] == "http" else text

    def nats(self, name: str) -> str:
        text = self.text(name, "")
        try:
            _ = text and NatsAddress.parse(text)
        except InvalidNatsAddress as error:  # does not contain the value, which may include a login
            raise SettingsError(f"{name} {error}.") from None
        return text

    def mail_security(self, name: str) -> MailSecurity:
        text = self.text(name, MailSecurity.STARTTLS).lower()
        try:
            return MailSecurity(text)
        except ValueError:
            raise SettingsError(f"{name} must be none, starttls or tls, not {text!r}.") from None

    def networks(self, name: str) -> tuple[Network, ...]:
        try:
            return tuple(ip_network(part.strip()) for part in self.text(name, "").split(",") if part.strip())
        except ValueError as error:
            raise SettingsError(f"{name} must be comma-separated networks such as 10.0.0.0/8: {error}.") from None

    def keys(self, name: str) -> tuple[bytes, ...]:
        try:
            keys = tuple(base64.b64decode(key, validate=True) for key in self.text(name, "").split(",") if key.strip())
        except binascii.Error:
            keys = (b"",)
        if any(len(key) != 32 for key in keys):
            raise SettingsError(
                f"{name} must be 32 bytes in base64 (create one with `openssl rand -base64 32`); "
                "older keys may follow, separated by commas."
            )
        return keys
