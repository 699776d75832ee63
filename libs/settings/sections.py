"""Groups of settings: each is one field of the settings, and its fields are variables with a common prefix."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from libs.settings.fields import Days, HttpUrl, IssuerUrl, Limit, MailSecurity, Port, Scopes, Secret


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


class RateLimitSettings(BaseModel):
    """Maximum requests per minute that one gateway process accepts. 0: no limit."""

    model_config = ConfigDict(frozen=True)

    user: Limit = 60_000
    address: Limit = 3_000  # per IP address; counts requests without valid credentials


class RetentionSettings(BaseModel):
    """Limits of stored data, by age in days and by number. 0: no limit."""

    model_config = ConfigDict(frozen=True)

    # each limit of builds, logs and artifacts applies to the projects that do not set that limit themselves
    build_days: Days = 0  # how long finished builds are kept
    build_count: Limit = 0  # number of finished builds to keep
    log_days: Days = 0  # how long logs of finished builds are kept
    log_count: Limit = 0  # number of finished builds whose logs are kept
    artifact_days: Days = 0  # how long artifacts are kept that do not expire earlier by `expire_in`
    artifact_count: Limit = 0  # number of finished builds whose artifacts are kept
    delivery_days: Days = 30  # how long records of webhook deliveries are kept
    delivery_count: Limit = 10_000  # number of webhook deliveries to keep per project
    notification_days: Days = 30  # how long records of sent or abandoned mails are kept
    notification_count: Limit = 10_000
    event_days: Days = 7  # how long events are kept in NATS; they stay in the event log
    event_megabytes: Limit = 2048  # MiB of events in NATS per service; 0: no limit
    deleted_days: Annotated[int, Field(ge=1, le=36_500)] = 7  # time until events of deleted objects leave the log


class S3Settings(BaseModel):
    """An S3-compatible object store."""

    model_config = ConfigDict(frozen=True)

    bucket: str = ""
    endpoint: HttpUrl = ""  # empty: Amazon S3 of the region
    region: str = "us-east-1"
    access_key: Secret = ""  # empty: credentials of the host or pod
    secret_key: Secret = ""


class OidcSettings(BaseModel):
    """Sign-in with an OpenID provider."""

    model_config = ConfigDict(frozen=True)

    issuer: IssuerUrl = ""  # empty: users cannot sign in with a provider
    client_id: str = ""
    client_secret: Secret = ""  # empty: a public client, which PKCE alone protects
    scopes: Scopes = ("openid", "profile", "email")
    name: Annotated[str, Field(max_length=40)] = "OpenID Connect"  # the provider's name on the sign-in button
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    admin_group: str = ""  # empty: the provider's groups do not change who is an administrator
    developer_group: str = ""  # empty: all new users are developers
    create_users: bool = False
    password_sign_in: bool = True  # whether the console accepts passwords, too
