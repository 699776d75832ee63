"""Names of users, fetched from the identity service and cached. Recorded events refer to users by id."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from cachetools import TTLCache

from contracts.errors import RequestRejected
from contracts.identity import MAX_USERNAMES, GetUsernames, Usernames

log = logging.getLogger("headrace.usernames")

FRESH_SECONDS = 60.0
STALE_SECONDS = 3600.0  # how long names are used while the identity service is unavailable
RETRY_SECONDS = 10.0  # pause after a failed request, so that not every caller waits for a timeout
CACHE_SIZE = 10_000
ERASED_USER = "erased user"

Fetch = Callable[[GetUsernames, type[Usernames]], Awaitable[Usernames]]


class UsernameCache:
    """Cached names. An erased name is returned for up to a minute, or an hour while identity is unavailable."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._retry_at = float("-inf")
        self._fresh: TTLCache[int, str] = TTLCache(CACHE_SIZE, FRESH_SECONDS, clock)
        self._stale: TTLCache[int, str] = TTLCache(CACHE_SIZE, STALE_SECONDS, clock)

    async def get(self, user_ids: Iterable[int], fetch: Fetch) -> Mapping[int, str]:
        """Return the current name of each user, or ERASED_USER for a user that does not exist.

        While the identity service is unavailable, return the last known name, or `user <id>`.
        """
        names = {user_id: self._fresh.get(user_id) for user_id in user_ids}
        missing = sorted(user_id for user_id, name in names.items() if name is None)
        for start in range(0, len(missing), MAX_USERNAMES):
            await self._refresh(missing[start : start + MAX_USERNAMES], fetch)
        names |= {user_id: self._stale.get(user_id, f"user {user_id}") for user_id in missing}
        return {user_id: name for user_id, name in names.items() if name is not None}

    async def _refresh(self, user_ids: Sequence[int], fetch: Fetch) -> None:
        if self._clock() < self._retry_at:
            return
        try:
            found = (await fetch(GetUsernames(user_ids=tuple(user_ids)), Usernames)).names
        except RequestRejected as rejected:
            self._retry_at = self._clock() + RETRY_SECONDS
            log.warning("the names of users are not available (%s)", rejected.code)
            return
        fetched = {user_id: found.get(user_id, ERASED_USER) for user_id in user_ids}
        self._fresh.update(fetched)
        self._stale.update(fetched)
