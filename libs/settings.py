"""Settings from environment variables (HEADRACE_...), validated once at start."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress

Network = IPv4Network | IPv6Network


class SettingsError(ValueError):
    """Settings are invalid. The message is for the operator: one sentence per problem, without values of secrets."""


class MailSecurity(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_networks(value: object) -> object:
    try:
        return tuple(map(ip_network, value)) if isinstance(value, list) else value
    except ValueError as error:
        raise ValueError(f"must be comma-separated networks such as 10.0.0.0/8: {error}") from None


def _parse_keys(value: object) -> object:
    if not isinstance(value, list):
        return value
    try:
        keys = tuple(base64.b64decode(key, validate=True) for key in value)
    except binascii.Error:
        keys = (b"",)
    if any(len(key) != 32 for key in keys):
        raise ValueError(
            "must be 32 bytes in base64 (create one with `openssl rand -base64 32`); "
            "older keys may follow, separated by commas"
        )
    return keys


def _check_http_url(url: str) -> str:
    return _check_scheme(url, "http", "https").rstrip("/")


def _check_mongodb_url(url: str) -> str:
    return _check_scheme(url, "mongodb", "mongodb+srv")


def _check_scheme(url: str, *schemes: str) -> str:
    if url and url.partition("://")[0] not in schemes:
        raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _check_nats_url(url: str) -> str:
    try:
        _ = url and NatsAddress.parse(url)
    except InvalidNatsAddress as error:
        raise ValueError(str(error)) from None
    return url


def _default_url(values: dict[str, Any]) -> str:
    """Return the URL for a client on this host: a wildcard address becomes the loopback address."""
    host, port = values.get("host", ""), values.get("port")  # absent if invalid
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    scheme = "https" if values.get("tls_certificate") else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=1, le=10**9)]
LongDelay = Annotated[float, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**9)]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
HttpUrl = Annotated[str, AfterValidator(_check_http_url)]
Secret = Annotated[str, Field(repr=False)]  # also read from the file that <variable>_FILE names


class MailSettings(BaseModel):
    model_config = ConfigDict(frozen=True, validate_by_name=True)

    host: str = ""  # empty: notifications are recorded but not sent
    port: Port = 587
    sender: str = Field("headrace@localhost", validation_alias="from")
    username: str = ""
    password: Secret = ""
    tls: Annotated[MailSecurity, BeforeValidator(str.lower)] = MailSecurity.STARTTLS


class ApiSettings(BaseModel):
    """Which APIs of other products the gateway serves."""

    model_config = ConfigDict(frozen=True)

    free_commit: bool = True
    gitflic: bool = True
    runners: bool = True


class S3Settings(BaseModel):
    """An S3-compatible object store."""

    model_config = ConfigDict(frozen=True)

    bucket: str = ""
    endpoint: HttpUrl = ""  # empty: Amazon S3 of the region
    region: str = "us-east-1"
    access_key: Secret = ""  # empty: credentials of the host or pod
    secret_key: Secret = ""


class Settings(BaseSettings):
    """All settings. Server URLs contain logins, so they are excluded from the repr, as are passwords."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        enable_decoding=False,
        frozen=True,
        validate_by_name=True,
    )

    host: str = "127.0.0.1"
    port: Port = 8080
    tls_certificate: AbsolutePath | None = None  # certificate of the gateway
    tls_key: AbsolutePath | None = None
    url: HttpUrl = Field(default_factory=_default_url)  # without a trailing slash
    data: AbsolutePath = Path(".headrace")
    admin_username: str = "admin"
    admin_password: Secret = ""
    mongodb_url: Annotated[Secret, AfterValidator(_check_mongodb_url)] = ""  # empty: the embedded server
    nats_url: Annotated[Secret, AfterValidator(_check_nats_url)] = ""  # one or several servers; empty: embedded
    # the first key wraps data keys; older keys only unwrap them
    master_keys: Annotated[tuple[bytes, ...], BeforeValidator(_parse_keys), BeforeValidator(_split)] = Field(
        (), validation_alias="HEADRACE_MASTER_KEY", repr=False
    )
    backup_key: Secret = ""  # key or passphrase that encrypts backups
    mail: MailSettings = MailSettings()
    registration_token: Secret = ""  # initial token for runners; empty: generated
    replicas: Annotated[int, Field(ge=1, le=32)] = 1
    stream_replicas: Annotated[int, Field(ge=1, le=5)] = 1  # replicas of each JetStream stream
    instance: str = Field("local", validation_alias=AliasChoices("HEADRACE_INSTANCE", "HOSTNAME"))
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: any free port
    local_repositories: bool = False
    wait_seconds: LongDelay = 120.0  # how long a command waits for servers that are starting
    leave_seconds: LongDelay = 0.0  # how long a gateway keeps serving after SIGTERM
    long_poll_seconds: Annotated[float, Field(ge=2, le=10**9)] = 30.0
    job_lease_seconds: Seconds = 60.0
    runner_offline_seconds: Seconds = 90.0
    build_timeout_seconds: Count = 3600
    mirror_megabytes: Count = 4096  # MiB for bare clones of repositories per builds replica
    artifact_megabytes: Annotated[int, Field(ge=1, le=100_000)] = 100  # MiB per artifact
    s3: S3Settings = S3Settings()  # for artifacts; without a bucket, they are stored in the database
    token_seconds: Count = 3600
    api: ApiSettings = ApiSettings()
    static: AbsolutePath | None = None  # folder of static files that the gateway serves
    ca_file: AbsolutePath | None = None  # CA certificates for NATS, MongoDB, mail server and S3; None: the system's
    client_certificate: AbsolutePath | None = None  # with its key, for NATS and MongoDB
    login_failures: Count = 10
    login_address_failures: Count = 100
    login_seconds: Seconds = 300.0
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_parse_networks), BeforeValidator(_split)] = ()
    # origins of web pages that may call the API
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = ("*",)
    database_prefix: str = "headrace"
    otlp_endpoint: HttpUrl = Field("", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # the environment is read by `from_environment` only, so that tests can pass their own

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings. An empty variable counts as not set. Raises SettingsError."""
        source = EnvSettingsSource(cls)
        given = {name: value.strip() for name, value in resolve_secret_files(environ).items()}
        source.env_vars = {name.lower(): value for name, value in given.items() if value}
        try:
            return cls(**source())
        except ValidationError as error:
            raise SettingsError("\n".join(_describe_problems(error))) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY must be set together")
        if bool(self.s3.access_key) != bool(self.s3.secret_key):
            raise ValueError("HEADRACE_S3_ACCESS_KEY and HEADRACE_S3_SECRET_KEY must be set together")
        if (self.s3.endpoint or self.s3.access_key) and not self.s3.bucket:
            raise ValueError("HEADRACE_S3_BUCKET is not set, but other HEADRACE_S3_ settings are")
        return self

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


def resolve_secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with each secret HEADRACE_X read from the file HEADRACE_X_FILE. Raises SettingsError."""
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


def variables(model: type[BaseModel] = Settings, prefix: str = "HEADRACE") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        variable = _variable(prefix, str(alias.choices[0] if isinstance(alias, AliasChoices) else alias or name))
        if isinstance(field.default, BaseModel):
            yield from variables(type(field.default), variable)
        else:
            yield variable, field


def _variable(*location: int | str) -> str:
    """Return the name of the variable for a location in the settings, such as `HEADRACE`, `mail`, `port`."""
    *prefix, name = map(str, location)
    return name if name.isupper() else "_".join((*prefix, name)).upper()


def _describe_problems(error: ValidationError) -> Iterator[str]:
    """Yield one sentence for each problem."""
    for problem in error.errors(include_url=False):
        location, reason = problem["loc"], problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not location:  # variables that do not fit together; the reason contains their names
            yield f"{reason}."
        elif problem["type"] == "value_error":  # one of ours, which never contains a secret
            yield f"{_variable('HEADRACE', *location)} {reason}."
        elif problem["type"] != "default_factory_not_called":  # that one follows from another problem
            yield f"{_variable('HEADRACE', *location)} {reason}, not {problem['input']!r}."


SECRET_VARIABLES = tuple(sorted(name for name, field in variables() if not field.repr))
