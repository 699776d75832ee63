"""The settings, read from environment variables (HEADRACE_...) and validated once at start."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from libs.settings.fields import (
    AbsolutePath,
    Count,
    HttpUrl,
    Keys,
    LongDelay,
    MongoUrl,
    NatsUrl,
    Networks,
    Nodes,
    Port,
    RepositoryNetworks,
    Seconds,
    Secret,
    Texts,
)
from libs.settings.sections import (
    ApiSettings,
    MailSettings,
    OidcSettings,
    RateLimitSettings,
    RetentionSettings,
    S3Settings,
)


class SettingsError(ValueError):
    """Settings are invalid. The message is for the operator: one sentence per problem, without values of secrets."""


def _default_url(values: dict[str, Any]) -> str:
    """Return the URL for a client on this host: a wildcard address becomes the loopback address."""
    host, port = values.get("host", ""), values.get("port")  # both are absent if they are invalid
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    scheme = "https" if values.get("tls_certificate") else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Settings(BaseSettings):
    """All settings. The repr leaves out secrets and the URLs of MongoDB and NATS, which may contain a login."""

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
    mongodb_url: MongoUrl = ""  # empty: the embedded server
    nats_url: NatsUrl = ""  # one or several servers; empty: embedded
    # the first key wraps data keys; older keys only unwrap them
    master_keys: Keys = Field((), validation_alias="HEADRACE_MASTER_KEY", repr=False)
    backup_key: Secret = ""  # key or passphrase that encrypts backups
    mail: MailSettings = MailSettings()
    registration_token: Secret = ""  # initial token for runners; empty: generated
    replicas: Annotated[int, Field(ge=1, le=32)] = 1
    nodes: Nodes | None = None  # embedded servers of each kind; None: as many as at the first start, or 1
    stream_replicas: Annotated[int, Field(ge=1, le=5)] = 1  # replicas of each JetStream stream
    instance: str = Field("local", validation_alias=AliasChoices("HEADRACE_INSTANCE", "HOSTNAME"))
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: any free port
    local_repositories: bool = False
    repository_networks: RepositoryNetworks = ()  # networks in which servers of repositories may be; empty: all
    default_visibility: Literal["internal", "private"] = "internal"  # visibility of new projects
    wait_seconds: LongDelay = 120.0  # how long a command waits for servers that are starting
    leave_seconds: LongDelay = 0.0  # how long a gateway keeps serving after SIGTERM
    long_poll_seconds: Annotated[float, Field(ge=2, le=10**9)] = 30.0
    job_lease_seconds: Seconds = 60.0
    runner_offline_seconds: Seconds = 90.0
    build_timeout_seconds: Count = 3600
    mirror_megabytes: Count = 4096  # MiB of bare clones of repositories that each replica of builds keeps
    artifact_megabytes: Annotated[int, Field(ge=1, le=100_000)] = 100  # MiB per artifact
    s3: S3Settings = S3Settings()  # stores artifacts; without a bucket, the database stores them
    retention: RetentionSettings = RetentionSettings()
    token_seconds: Count = 3600
    session_seconds: Count = 7 * 24 * 3600  # how long a session in a browser can be renewed after the sign-in
    api: ApiSettings = ApiSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    static: AbsolutePath | None = None  # folder of static files that the gateway serves
    ca_file: AbsolutePath | None = None  # CA certificates for NATS, MongoDB, mail server and S3; None: the system's
    client_certificate: AbsolutePath | None = None  # with its key, for NATS and MongoDB
    login_failures: Count = 10
    login_address_failures: Count = 100
    login_seconds: Seconds = 300.0
    oidc: OidcSettings = OidcSettings()
    trusted_proxies: Networks = ()
    # origins of web pages that may call the API
    cors_origins: Texts = ("*",)
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
        if bool(self.oidc.issuer) != bool(self.oidc.client_id):
            raise ValueError("HEADRACE_OIDC_ISSUER and HEADRACE_OIDC_CLIENT_ID must be set together")
        if not self.oidc.issuer and not self.oidc.password_sign_in:
            raise ValueError("HEADRACE_OIDC_ISSUER is not set, so HEADRACE_OIDC_PASSWORD_SIGN_IN cannot be false")
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
                raise SettingsError(f"{variable} is not set; set it, or let `headrace server up` start everything.")

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
        elif problem["type"] == "value_error":  # an error of this package, whose message never contains a secret
            yield f"{_variable('HEADRACE', *location)} {reason}."
        elif problem["type"] != "default_factory_not_called":  # a default that depends on an invalid setting
            yield f"{_variable('HEADRACE', *location)} {reason}, not {problem['input']!r}."


SECRET_VARIABLES = tuple(sorted(name for name, field in variables() if not field.repr))
