"""Which addresses and branches git may be given."""

import pytest

from libs.deciding import Refused
from services.projects.domain.repository import bare_repository, is_local, login_of, valid_branch, valid_repository


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
def test_good_addresses_stay_as_they_are(address: str) -> None:
    assert valid_repository(f" {address} ") == address


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
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(Refused, match="PROJECT_REPOSITORY_INVALID"):
        valid_repository(address)


@pytest.mark.parametrize("address", ["https://forge.example/a\nb", "host:a\0b"])
def test_an_address_is_one_line(address: str) -> None:
    with pytest.raises(Refused, match="REQUEST_INVALID"):
        valid_repository(address)


def test_a_login_is_kept_apart_from_the_address() -> None:
    address = " https://user:pass%20word@forge.example/shop.git "
    assert (bare_repository(address), login_of(address)) == ("https://forge.example/shop.git", "user:pass word")


@pytest.mark.parametrize("address", ["https://forge.example/shop.git", "git@forge.example:shop.git", "/srv/shop.git"])
def test_an_address_without_a_login_is_bare(address: str) -> None:
    assert (bare_repository(address), login_of(address)) == (address, "")


def test_local_addresses_are_known() -> None:
    assert is_local("/srv/x")
    assert is_local("FILE:///srv/x")
    assert not is_local("https://forge.example/x")


@pytest.mark.parametrize("branch", ["*", "main", "feature/x-1", "v1.0", "релиз", "a@b"])
def test_good_branches_stay_as_they_are(branch: str) -> None:
    assert valid_branch(branch) == branch


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
def test_bad_branches_are_refused(branch: str) -> None:
    with pytest.raises(Refused, match="PROJECT_BRANCH_INVALID"):
        valid_branch(branch)
