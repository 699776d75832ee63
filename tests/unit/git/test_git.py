"""What git is told about an address, and what of it is confidential."""

import pytest

from libs.git import confidential, environment, with_credentials, without_credentials

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
def test_a_login_is_taken_out_of_web_addresses(url: str, bare: str, login: str) -> None:
    assert without_credentials(url) == (bare, login)


@pytest.mark.parametrize(("url", "bare", "login"), LOGINS)
def test_a_login_is_put_back_percent_encoded(url: str, bare: str, login: str) -> None:
    assert with_credentials(bare, login) == url


@pytest.mark.parametrize("url", ["https://host/r.git", "git@host:owner/r.git", "ssh://git@host/r.git", "/srv/r.git"])
def test_an_address_without_a_login_stays_as_it_is(url: str) -> None:
    assert with_credentials(url, None) == url


@pytest.mark.parametrize("url", ["git@host:owner/r.git", "ssh://git@host/r.git", "/srv/r.git"])
def test_only_a_web_address_takes_a_login(url: str) -> None:
    assert with_credentials(url, "user:password") == url


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
def test_passwords_and_tokens_are_confidential_and_a_short_name_alone_is_not(login: str, hidden: set[str]) -> None:
    assert set(confidential(login)) == hidden


def test_a_login_is_in_no_setting_of_git() -> None:
    variables = environment("https://user:secret-word@host:8443/r.git", None)
    settings = {name: value for name, value in variables.items() if name.startswith("GIT_")}
    assert "credential.https://host:8443.helper" in settings.values()
    assert "secret-word" not in str(settings)
    assert (variables["HEADRACE_GIT_USERNAME"], variables["HEADRACE_GIT_PASSWORD"]) == ("user", "secret-word")
