"""Settings from environment variables, and errors for invalid values."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

from libs.settings import MailSecurity, MailSettings, OidcSettings, S3Settings, Settings, SettingsError

KEY, OLD_KEY = b"n" * 32, b"o" * 32
KEYS = ",".join(base64.b64encode(key).decode() for key in (KEY, OLD_KEY))
SECRETS = {
    "HEADRACE_MASTER_KEY": KEYS,
    "HEADRACE_ADMIN_PASSWORD": "admin-canary",
    "HEADRACE_MAIL_PASSWORD": "mail-canary",
    "HEADRACE_S3_BUCKET": "artifacts",
    "HEADRACE_S3_ACCESS_KEY": "key-canary",
    "HEADRACE_S3_SECRET_KEY": "bucket-canary",
    "HEADRACE_MONGODB_URL": "mongodb://someone:mongo-canary@db:27017",
    "HEADRACE_NATS_URL": "nats://someone:nats-canary@bus:4222",
}


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.data == Path(".headrace").absolute()
    assert (settings.host, settings.port, settings.url) == ("127.0.0.1", 8080, "http://127.0.0.1:8080")
    assert settings.mail == MailSettings(host="", port=587, tls=MailSecurity.STARTTLS)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_environment({"HEADRACE_PORT": "", "HEADRACE_MASTER_KEY": " "}).port == 8080


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"HEADRACE_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"HEADRACE_HOST": "0.0.0.0"}, "http://127.0.0.1:8080"),  # noqa: S104
        ({"HEADRACE_HOST": "::"}, "http://[::1]:8080"),
        ({"HEADRACE_HOST": "::1", "HEADRACE_PORT": "1"}, "http://[::1]:1"),
        ({"HEADRACE_HOST": "0.0.0.0", "HEADRACE_URL": "https://ci.example.org/"}, "https://ci.example.org"),  # noqa: S104
    ],
)
def test_the_default_url_is_reachable_by_clients(environ: dict[str, str], url: str) -> None:
    assert Settings.from_environment(environ).url == url


def test_master_keys_are_read_newest_first() -> None:
    assert Settings.from_environment(SECRETS).master_keys == (KEY, OLD_KEY)


def test_mail_settings_are_read_together() -> None:
    environ = {
        "HEADRACE_MAIL_HOST": "mail",
        "HEADRACE_MAIL_PORT": "25",
        "HEADRACE_MAIL_FROM": "ci@example.org",
        "HEADRACE_MAIL_USERNAME": "ci",
        "HEADRACE_MAIL_PASSWORD": "secret",
        "HEADRACE_MAIL_TLS": "none",
    }
    mail = MailSettings(
        host="mail", port=25, sender="ci@example.org", username="ci", password="secret", tls=MailSecurity.NONE
    )
    assert Settings.from_environment(environ).mail == mail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADRACE_PORT", "http"),
        ("HEADRACE_PORT", "0"),
        ("HEADRACE_PORT", "65536"),
        ("HEADRACE_PORT", "²"),
        ("HEADRACE_REPLICAS", "0"),
        ("HEADRACE_LONG_POLL_SECONDS", "1"),
        ("HEADRACE_LONG_POLL_SECONDS", "soon"),
        ("HEADRACE_JOB_LEASE_SECONDS", "nan"),
        ("HEADRACE_LOCAL_REPOSITORIES", "maybe"),
        ("HEADRACE_MAIL_TLS", "ssl"),
        ("HEADRACE_MAIL", "smtp"),  # a prefix of settings, not a setting
    ],
)
def test_an_invalid_value_is_reported_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        Settings.from_environment({name: value})
    assert repr(value) in str(error.value)


def test_all_invalid_values_are_reported_together() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"HEADRACE_PORT": "0", "HEADRACE_MAIL_PORT": "x", "HEADRACE_MASTER_KEY": "canary"})
    assert [line.split()[0] for line in str(error.value).splitlines()] == [
        "HEADRACE_PORT",
        "HEADRACE_MASTER_KEY",
        "HEADRACE_MAIL_PORT",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADRACE_MASTER_KEY", "canary"),
        ("HEADRACE_MASTER_KEY", "Y2FuYXJ5"),
        ("HEADRACE_MONGODB_URL", "postgres://user:canary@db"),
        ("HEADRACE_NATS_URL", "canary"),
    ],
)
def test_an_invalid_secret_value_is_not_repeated_in_the_error(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        Settings.from_environment({name: value})
    assert value not in str(error.value)


def test_the_repr_of_settings_hides_secrets() -> None:
    text = repr(Settings.from_environment(SECRETS))
    assert "canary" not in text
    assert "nnnn" not in text


def test_a_service_refuses_to_start_without_servers_and_says_which() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_NATS_URL is not set"):
        Settings.from_environment(SECRETS | {"HEADRACE_NATS_URL": ""}).require_servers()


def test_the_provider_is_read_from_the_environment() -> None:
    environ = {
        "HEADRACE_OIDC_ISSUER": "https://sso.example/",  # the slash is a part of the issuer
        "HEADRACE_OIDC_CLIENT_ID": "ci",
        "HEADRACE_OIDC_CLIENT_SECRET": "canary",
        "HEADRACE_OIDC_SCOPES": "openid, groups",
        "HEADRACE_OIDC_PASSWORD_SIGN_IN": "false",
    }
    settings = Settings.from_environment(environ)
    assert settings.oidc == OidcSettings(
        issuer="https://sso.example/",
        client_id="ci",
        client_secret="canary",
        scopes=("openid", "groups"),
        password_sign_in=False,
    )
    assert "canary" not in repr(settings)


def test_bucket_settings_are_read_from_the_environment() -> None:
    environ = {"HEADRACE_S3_BUCKET": "artifacts", "HEADRACE_S3_ENDPOINT": "http://s3:9000/", "HEADRACE_S3_REGION": "x"}
    assert Settings.from_environment(environ).s3 == S3Settings(
        bucket="artifacts", endpoint="http://s3:9000", region="x"
    )


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"HEADRACE_OIDC_ISSUER": "https://sso.example"}, "must be set together"),
        ({"HEADRACE_OIDC_CLIENT_ID": "ci"}, "must be set together"),
        ({"HEADRACE_OIDC_PASSWORD_SIGN_IN": "false"}, "HEADRACE_OIDC_ISSUER is not set"),
        (
            {"HEADRACE_OIDC_ISSUER": "sso.example", "HEADRACE_OIDC_CLIENT_ID": "ci"},
            "HEADRACE_OIDC_ISSUER must be a URL",
        ),
        ({"HEADRACE_OIDC_SCOPES": "profile,email"}, "HEADRACE_OIDC_SCOPES must contain openid"),
        ({"HEADRACE_S3_ENDPOINT": "http://s3:9000"}, "HEADRACE_S3_BUCKET is not set"),
        ({"HEADRACE_S3_BUCKET": "a", "HEADRACE_S3_SECRET_KEY": "canary"}, "must be set together"),
        ({"HEADRACE_S3_BUCKET": "a", "HEADRACE_S3_ENDPOINT": "s3:9000"}, "HEADRACE_S3_ENDPOINT must be a URL"),
    ],
)
def test_settings_that_do_not_fit_together_are_rejected(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        Settings.from_environment(environ)
    assert "canary" not in str(error.value)


def test_each_service_has_its_own_database_under_the_prefix() -> None:
    assert Settings.from_environment({"HEADRACE_DATABASE_PREFIX": "t1"}).database("builds") == "t1_builds"


def test_trusted_proxies_are_networks_or_single_addresses() -> None:
    settings = Settings.from_environment({"HEADRACE_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_a_trusted_proxy_network_with_host_bits_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"^HEADRACE_TRUSTED_PROXIES must be comma-separated networks"):
        Settings.from_environment({"HEADRACE_TRUSTED_PROXIES": "10.0.0.1/8"})


def test_networks_of_repositories_may_include_all_public_addresses() -> None:
    settings = Settings.from_environment({"HEADRACE_REPOSITORY_NETWORKS": "public, 10.1.2.0/24"})
    assert set(settings.repository_networks) == {"public", ip_network("10.1.2.0/24")}
    with pytest.raises(SettingsError, match=r"^HEADRACE_REPOSITORY_NETWORKS must be comma-separated networks"):
        Settings.from_environment({"HEADRACE_REPOSITORY_NETWORKS": "public, private"})


def test_origins_of_web_pages_are_separated_by_commas() -> None:
    origins = {"HEADRACE_CORS_ORIGINS": "https://a.example, https://b.example"}
    assert Settings.from_environment(origins).cors_origins == ("https://a.example", "https://b.example")
    assert Settings.from_environment({}).cors_origins == ("*",)


def test_the_gateway_needs_no_database_and_no_master_key() -> None:
    settings = Settings.from_environment({"HEADRACE_NATS_URL": "nats://bus:4222"})
    settings.require_servers(bus_alone=True)
    with pytest.raises(SettingsError, match="HEADRACE_MONGODB_URL"):
        settings.require_servers()
