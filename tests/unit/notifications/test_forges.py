"""Requests to forges: URLs derived from repositories, names of states, and responses."""

import pytest

from contracts.projects import Forge, ForgeKind
from services.notifications.attempts import DeliveryFailed
from services.notifications.outgoing.forges import (
    CommitState,
    CommitStatus,
    NoForgeAddress,
    build_request,
    locate_repository,
    raise_for_status,
)
from services.notifications.outgoing.http_client import Response, raise_for_temporary

STATUS = CommitStatus(17, "abc", "refs/heads/topic/x", CommitState.RUNNING, "https://ci.test/ui/builds/17")


def forge(kind: ForgeKind, repository: str, api_url: str = "") -> Forge:
    return Forge(kind=kind, api_url=api_url, repository=repository, alias="shop")


@pytest.mark.parametrize(
    ("kind", "repository", "api_url", "location"),
    [
        ("github", "https://github.com/acme/shop.git", "", ("https://api.github.com", "acme/shop")),
        ("github", "git@github.com:acme/shop.git", "", ("https://api.github.com", "acme/shop")),
        ("github", "https://git.test/acme/shop", "", ("https://git.test/api/v3", "acme/shop")),
        ("gitlab", "ssh://git@git.test:2222/a/b/shop.git", "", ("https://git.test/api/v4", "a/b/shop")),
        ("gitlab", "http://git.test:8080/a/shop.git/", "", ("http://git.test:8080/api/v4", "a/shop")),
        ("gitlab", "git@[::1]:a/shop.git", "", ("https://[::1]/api/v4", "a/shop")),
        (
            "gitlab",
            "https://git.test/gitlab/a/shop.git",
            "https://git.test/gitlab/api/v4",
            ("https://git.test/gitlab/api/v4", "a/shop"),
        ),
        (
            "gitlab",
            "git@git.test:a/shop.git",
            "https://git.test/gitlab/api/v4",
            ("https://git.test/gitlab/api/v4", "a/shop"),
        ),
        ("gitea", "https://git.test/acme/shop.git", "", ("https://git.test/api/v1", "acme/shop")),
    ],
)
def test_the_api_is_found_from_the_repository(
    kind: str, repository: str, api_url: str, location: tuple[str, str]
) -> None:
    assert locate_repository(forge(ForgeKind(kind), repository, api_url)) == location


def test_a_local_repository_has_no_forge() -> None:
    with pytest.raises(NoForgeAddress):
        locate_repository(forge(ForgeKind.GITLAB, "/srv/git/shop.git"))


def test_a_path_without_an_owner_is_rejected() -> None:
    with pytest.raises(NoForgeAddress):
        build_request(forge(ForgeKind.GITHUB, "https://github.com/a/b/shop.git"), "t", STATUS)


def test_the_token_is_not_shown() -> None:
    request = build_request(forge(ForgeKind.GITEA, "https://git.test/acme/shop.git"), "canary", STATUS)
    assert request.headers == {"Authorization": "token canary"}
    assert "canary" not in repr(request)


def test_gitlab_gets_the_encoded_path_and_the_branch() -> None:
    request = build_request(forge(ForgeKind.GITLAB, "https://git.test/a/b/shop.git"), "t", STATUS)
    assert request.url == "https://git.test/api/v4/projects/a%2Fb%2Fshop/statuses/abc"
    assert (request.body["ref"], request.body["state"]) == ("topic/x", "running")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_a_refusal_is_permanent(status: int) -> None:
    with pytest.raises(DeliveryFailed) as failure:
        raise_for_status(Response(status, b"canary"))
    assert (failure.value.is_permanent, failure.value.response_code) == (True, status)
    assert "canary" not in failure.value.reason


@pytest.mark.parametrize("response", [Response(201, b""), Response(400, b"Cannot transition status via :run")])
def test_an_accepted_or_repeated_status_is_sent(response: Response) -> None:
    raise_for_status(response)


@pytest.mark.parametrize(
    ("status", "headers"), [(408, {}), (429, {}), (500, {}), (502, {}), (403, {"retry-after": "60"})]
)
def test_an_overloaded_server_gets_another_attempt(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(DeliveryFailed) as failure:
        raise_for_temporary(status, headers, "the forge")
    assert (failure.value.is_permanent, failure.value.response_code) == (False, status)


@pytest.mark.parametrize(("status", "headers"), [(200, {"retry-after": "60"}), (301, {}), (404, {})])
def test_other_answers_are_final(status: int, headers: dict[str, str]) -> None:
    raise_for_temporary(status, headers, "the forge")
