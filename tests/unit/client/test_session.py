"""Selection of the server and token for a command, and the file that stores them."""

import os
import stat
from pathlib import Path

import pytest

from client.errors import SignedOut, UsageError
from client.session.connection import find_server
from client.session.console_urls import Target, normalize_server_url, parse_target
from client.session.server_list import KnownServer, change_servers, list_path, load_servers

FIRST = KnownServer("first", "https://one.example", "dana", "hrp_1", 1)
SECOND = KnownServer("second", "https://two.example/ci", "dana", "hrp_2", 2)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("HEADRACE_SERVER", "HEADRACE_URL", "HEADRACE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def signed_in() -> None:
    with change_servers() as servers:
        servers.add(FIRST)
        servers.add(SECOND)


def test_the_file_of_tokens_is_readable_by_its_owner_only() -> None:
    os.umask(previous := os.umask(0))
    try:
        os.umask(0)
        with change_servers() as servers:
            servers.add(FIRST)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(list_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(list_path().parent.stat().st_mode) == 0o700
    assert load_servers().servers == {"first": FIRST}


def test_a_broken_file_is_reported_and_not_overwritten() -> None:
    list_path().parent.mkdir()
    list_path().write_text("{")
    with pytest.raises(UsageError, match="Correct or delete"):
        load_servers()


@pytest.mark.usefixtures("signed_in")
def test_the_last_sign_in_is_the_current_server_until_it_ends() -> None:
    assert find_server() == SECOND
    with change_servers() as servers:
        servers.remove("second")
    assert find_server() == FIRST


@pytest.mark.usefixtures("signed_in")
def test_the_url_of_an_argument_selects_its_server() -> None:
    assert find_server("https://one.example") == FIRST
    with pytest.raises(SignedOut, match=r"headrace login https://three\.example"):
        find_server("https://three.example")


@pytest.mark.usefixtures("signed_in")
def test_the_environment_has_precedence_over_the_current_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SERVER", "first")
    assert find_server() == FIRST
    monkeypatch.delenv("HEADRACE_SERVER")
    monkeypatch.setenv("HEADRACE_URL", "https://one.example/")
    assert find_server() == FIRST
    monkeypatch.setenv("HEADRACE_TOKEN", "hrp_3")
    assert find_server().token == "hrp_3"


@pytest.mark.usefixtures("signed_in")
def test_a_token_of_the_environment_is_not_sent_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URL", "https://three.example")
    monkeypatch.setenv("HEADRACE_TOKEN", "hrp_3")
    assert find_server("https://one.example") == FIRST
    with pytest.raises(SignedOut):
        find_server("https://four.example")
    monkeypatch.delenv("HEADRACE_URL")
    with pytest.raises(UsageError, match="HEADRACE_URL"):
        find_server()


def test_without_a_sign_in_there_is_no_server() -> None:
    with pytest.raises(SignedOut) as error:
        find_server()
    assert error.value.exit_code == 4


@pytest.mark.parametrize(
    ("argument", "target"),
    [
        ("17", Target("17")),
        ("https://ci.example/ui/builds/17", Target("17", "https://ci.example")),
        ("https://ci.example:8443/base/ui/builds/17?job=4#L9", Target("17", "https://ci.example:8443/base")),
    ],
)
def test_pages_of_the_console_name_objects(argument: str, target: Target) -> None:
    assert parse_target(argument, "builds") == target


@pytest.mark.parametrize("argument", ["https://ci.example/", "https://ci.example/ui/projects/1", "x://y/ui/builds"])
def test_other_urls_are_usage_errors(argument: str) -> None:
    with pytest.raises(UsageError):
        parse_target(argument, "builds")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://CI.example/", "https://ci.example"),
        ("https://ci.example/ui/builds/17", "https://ci.example"),
        ("https://ci.example/base/api/docs", "https://ci.example/base"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_url_of_any_page_is_accepted_for_the_sign_in(text: str, url: str) -> None:
    assert normalize_server_url(text) == url


@pytest.mark.parametrize("text", ["ci.example", "ftp://ci.example", "https://", "https://dana:secret@ci.example"])
def test_what_is_not_the_url_of_a_server_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        normalize_server_url(text)
