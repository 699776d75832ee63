"""Validation of repository URLs and branch names."""

import pytest

from libs.eventstore.decider import RequestRejected
from services.projects.domain.repository import (
    extract_login,
    is_local_path,
    strip_login,
    validate_branch,
    validate_repository,
)


@pytest.mark.parametrize(
    "address",
    [
        "https://forge.example/group/shop.git",
        "http://127.0.0.1:3000/shop",
        "https://user:pass%20word@forge.example/shop.git",
        "https://[::1]:8443/shop.git",
        "ssh://git@forge.example:2222/shop.git",
        "git@forge.example:group/shop.git",
        "forge:shop",
        "git@forge.example:/srv/shop.git",
        "git@forge.example:~ivan/shop.git",
        "/srv/git/shop.git",
        "/srv/my repositories/shop.git",
        "file:///srv/git/shop.git",
    ],
)
def test_valid_repository_urls_are_unchanged(address: str) -> None:
    assert validate_repository(f" {address} ") == address


@pytest.mark.parametrize(
    "address",
    [
        "--upload-pack=touch /tmp/owned",
        "-oProxyCommand=sh",
        "ext::sh -c touch% /tmp/owned",
        "fd::17",
        "ssh://-oProxyCommand=sh/x",
        "ssh://git@-oProxyCommand=sh/x",
        "-oProxyCommand=sh:x",
        "git@-oProxyCommand=sh:x",
        "host:-x",
        "host::x",
        "git://forge.example/shop.git",
        "ftp://forge.example/shop.git",
        "file://elsewhere/shop.git",
        "https://",
        "https:///shop.git",
        "https://forge.example",
        "http://[::1/shop",
        "https://forge.example/a b",
        "https://ada:pass%0Aword@forge.example/shop.git",
        "https://ada:pass%00word@forge.example/shop.git",
        "ssh://git:password@forge.example/shop.git",
        "shop",
        "../shop",
        "./shop:x",
    ],
)
def test_invalid_repository_urls_are_rejected(address: str) -> None:
    with pytest.raises(RequestRejected, match="PROJECT_REPOSITORY_INVALID"):
        validate_repository(address)


@pytest.mark.parametrize("address", ["https://forge.example/a\nb", "host:a\0b"])
def test_a_repository_url_with_control_characters_is_rejected(address: str) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_INVALID"):
        validate_repository(address)


def test_credentials_are_separated_from_the_repository_url() -> None:
    address = " https://user:pass%20word@forge.example/shop.git "
    assert (strip_login(address), extract_login(address)) == ("https://forge.example/shop.git", "user:pass word")


@pytest.mark.parametrize("address", ["https://forge.example/shop.git", "git@forge.example:shop.git", "/srv/shop.git"])
def test_a_repository_url_without_credentials_is_unchanged(address: str) -> None:
    assert (strip_login(address), extract_login(address)) == (address, "")


def test_local_repository_urls_are_recognized() -> None:
    assert is_local_path("/srv/x")
    assert is_local_path("FILE:///srv/x")
    assert not is_local_path("https://forge.example/x")


@pytest.mark.parametrize("branch", ["*", "main", "feature/x-1", "v1.0", "релиз", "a@b"])
def test_valid_branch_names_are_unchanged(branch: str) -> None:
    assert validate_branch(branch) == branch


@pytest.mark.parametrize(
    "branch",
    [
        "-d",
        "--all",
        "a b",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "[a",
        "a\\b",
        "/a",
        "a/",
        "a//b",
        "a.",
        "a.lock",
        "@",
        "a@{1}",
        ".a",
        "a/.b",
    ],
)
def test_invalid_branch_names_are_rejected(branch: str) -> None:
    with pytest.raises(RequestRejected, match="PROJECT_BRANCH_INVALID"):
        validate_branch(branch)
