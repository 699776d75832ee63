"""Names of users: fetched by id, cached, and replaced with a constant text when the user is erased."""

from contracts.errors import RequestRejected
from contracts.identity import GetUsernames, Usernames
from libs.privacy.usernames import ERASED_USER, RETRY_SECONDS, UsernameCache


class Identity:
    def __init__(self, **names: str) -> None:
        self.names = {int(user_id.removeprefix("user")): name for user_id, name in names.items()}
        self.is_available = True
        self.requests = 0
        self.now = 0.0

    async def fetch(self, query: GetUsernames, _answer: type[Usernames]) -> Usernames:
        self.requests += 1
        if not self.is_available:
            raise RequestRejected("SERVICE_UNAVAILABLE")
        return Usernames(names={user_id: self.names[user_id] for user_id in query.user_ids if user_id in self.names})

    def clock(self) -> float:
        return self.now


async def test_an_erased_user_has_a_constant_name_after_a_minute() -> None:
    identity = Identity(user7="ada")
    cache = UsernameCache(identity.clock)
    assert await cache.get((7, 8), identity.fetch) == {7: "ada", 8: ERASED_USER}
    identity.names.clear()
    identity.now = 59
    assert await cache.get((7,), identity.fetch) == {7: "ada"}
    identity.now = 61
    assert await cache.get((7,), identity.fetch) == {7: ERASED_USER}


async def test_known_names_are_used_while_identity_is_unavailable_and_retried_later() -> None:
    identity = Identity(user7="ada")
    cache = UsernameCache(identity.clock)
    await cache.get((7,), identity.fetch)
    identity.is_available, identity.now = False, 100
    assert await cache.get((7, 8), identity.fetch) == {7: "ada", 8: "user 8"}
    assert await cache.get((8,), identity.fetch) == {8: "user 8"}
    assert identity.requests == 2
    identity.is_available, identity.now = True, 100 + RETRY_SECONDS
    assert await cache.get((8,), identity.fetch) == {8: ERASED_USER}
