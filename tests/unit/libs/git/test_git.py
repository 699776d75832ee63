"""Credentials in repository URLs: how git receives them, and which parts are secret."""

import pytest

from libs.git_env import add_credentials, build_environment, extract_secrets, split_credentials

LOGINS = [
    ("http://user:pa%40s%2Fs@host:80/r.git", "http://host:80/r.git", "user:pa@s/s"),
    ("https://user:a%3Ab%25@[::1]:8443/r.git", "https://[::1]:8443/r.git", "user:a:b%"),
    ("https://token@host/r.git", "https://host/r.git", "token"),
    ("https://token:@host/r.git", "https://host/r.git", "token:"),
]


@pytest.mark.parametrize(
    ("url", "bare", "login"),
    [
        *LOGINS,
        ("https://host/r@1.git", "https://host/r@1.git", ""),
        ("git@host:owner/r.git", "git@host:owner/r.git", ""),
        ("ssh://git@host/r.git", "ssh://git@host/r.git", ""),
        ("/srv/r.git", "/srv/r.git", ""),
    ],
)
def test_credentials_are_removed_from_http_urls(url: str, bare: str, login: str) -> None:
    assert split_credentials(url) == (bare, login)


@pytest.mark.parametrize(("url", "bare", "login"), LOGINS)
def test_credentials_are_inserted_percent_encoded(url: str, bare: str, login: str) -> None:
    assert add_credentials(bare, login) == url


@pytest.mark.parametrize("url", ["https://host/r.git", "git@host:owner/r.git", "ssh://git@host/r.git", "/srv/r.git"])
def test_a_url_without_credentials_is_unchanged(url: str) -> None:
    assert add_credentials(url, None) == url


@pytest.mark.parametrize("url", ["git@host:owner/r.git", "ssh://git@host/r.git", "/srv/r.git"])
def test_only_an_http_url_takes_credentials(url: str) -> None:
    assert add_credentials(url, "user:password") == url


@pytest.mark.parametrize(
    ("login", "hidden"),
    [
        ("", set()),
        ("git", set()),
        ("git:pw", {"git:pw", "pw"}),
        ("git:p+w@", {"git:p+w@", "p+w@", "p%2Bw%40", "p+w%40"}),
        ("0123456789abcdef", {"0123456789abcdef"}),
        ("0123456789abcdef:x-oauth-basic", {"0123456789abcdef", "0123456789abcdef:x-oauth-basic", "x-oauth-basic"}),
    ],
)
def test_passwords_and_tokens_are_secret_but_a_short_username_is_not(login: str, hidden: set[str]) -> None:
    assert set(extract_secrets(login)) == hidden


def test_git_settings_contain_no_credentials() -> None:
    variables = build_environment("https://user:secret-word@host:8443/r.git", None)
    settings = {name: value for name, value in variables.items() if name.startswith("GIT_")}
    assert "credential.https://host:8443.helper" in settings.values()
    assert "secret-word" not in str(settings)
    assert (variables["HEADRACE_GIT_USERNAME"], variables["HEADRACE_GIT_PASSWORD"]) == ("user", "secret-word")
