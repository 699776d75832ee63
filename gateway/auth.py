"""Who is asking: tokens are checked here, and what their user may do now is asked of identity."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from contracts.errors import Refused
from contracts.identity import Access, GetAccess, PublicKeys, VerificationKeys
from libs.deciding import Actor
from libs.messaging import Caller
from libs.security.tokens import TokenClaims, TokenExpired, TokenInvalid, read

FRESH = 1.0  # seconds: so long a change of a user may go unnoticed
USABLE = 60.0  # seconds: so long the last answer counts while identity is away, where nobody can be disabled either
KEYS_PAUSE = 1.0  # seconds between two questions for keys, however many tokens of strangers come
MOST = 10_000  # remembered tokens, and users
AWAY = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})
PATIENCE = 1.0  # seconds


class Role(StrEnum):
    """What a route needs. There is no hierarchy: an administrator is no developer unless both are given."""

    NOBODY = ""
    USER = "any token"
    DEVELOPER = "ROLE_DEVELOPER"
    ADMIN = "ROLE_ADMIN"


def role_of(path: str) -> Role:
    """Free Commit's rule: the first segment below the prefix says who may call."""
    match path.split("/")[1]:
        case "guest" | "auth":
            return Role.NOBODY
        case "developer":
            return Role.DEVELOPER
        case "admin":
            return Role.ADMIN
        case _:
            return Role.USER


def token_from(headers: Mapping[bytes, bytes]) -> str:
    """`Bearer <token>` or `token <token>`."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() not in {"bearer", "token"} or not token.strip():
        raise Refused("UNAUTHORIZED", "This address needs a token: `Authorization: Bearer <token>`.")
    return token.strip()


@dataclass(frozen=True, slots=True)
class Known:
    access: Access
    asked_at: float  # when identity was last asked
    confirmed_at: float  # when it was asked and answered


class Doorkeeper:
    """Keeps what identity said for a moment, so that a request costs no question in the usual case."""

    def __init__(self, caller: Caller, clock: Callable[[], float] = time.monotonic) -> None:
        self._caller = caller
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._keys_asked_at = float("-inf")
        self._asking_keys: asyncio.Task[None] | None = None
        self._claims: dict[str, TokenClaims] = {}
        self._known: dict[int, Known] = {}
        self._asking: dict[int, asyncio.Task[Access]] = {}

    async def admit(self, headers: Mapping[bytes, bytes], needs: Role) -> Actor:
        """Who asks, if they may. Raises Refused with UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID or FORBIDDEN."""
        claims = await self._read(token_from(headers))
        access = await self._access(claims.user_id)
        if not access.enabled or access.epoch != claims.epoch:
            raise Refused("TOKEN_INVALID", "The user was disabled or changed since; log in again.")
        if needs is not Role.USER and needs not in access.roles:
            raise Refused("FORBIDDEN", f"This address needs {needs}.")
        return Actor(access.user_id, access.username, access.roles)

    async def _read(self, token: str) -> TokenClaims:
        if known := self._claims.get(token):
            if datetime.now(UTC) < known.expires_at:
                return known
            del self._claims[token]
        try:
            claims = await self._verified(token)
        except TokenExpired:
            raise Refused("TOKEN_EXPIRED") from None
        except TokenInvalid:
            raise Refused("TOKEN_INVALID") from None
        if len(self._claims) >= MOST:
            self._claims.clear()
        self._claims[token] = claims
        return claims

    async def _verified(self, token: str) -> TokenClaims:
        """The key may be newer than those we have: ask once more before saying no."""
        try:
            return read(token, self._keys)
        except TokenInvalid:
            await self._refresh_keys()
            return read(token, self._keys)

    async def _refresh_keys(self) -> None:
        if self._asking_keys is None or self._asking_keys.done():
            if self._keys and self._clock() - self._keys_asked_at < KEYS_PAUSE:
                return
            self._asking_keys = asyncio.create_task(self._ask_keys())
        # shielded: the question is everybody's, also when the client that started it goes away
        await asyncio.shield(self._asking_keys)

    async def _ask_keys(self) -> None:
        self._keys_asked_at = self._clock()
        answer = await self._caller.ask(PublicKeys(), timeout=PATIENCE)
        self._keys = VerificationKeys.model_validate_json(answer).keys

    async def _access(self, user_id: int) -> Access:
        known = self._known.get(user_id)
        if known and self._clock() - known.asked_at < FRESH:
            return known.access
        asking = self._asking.get(user_id)
        if asking is None:
            asking = self._asking[user_id] = asyncio.create_task(self._ask_access(user_id))
            asking.add_done_callback(lambda _: self._asking.pop(user_id))
        return await asyncio.shield(asking)

    async def _ask_access(self, user_id: int) -> Access:
        asked_at = self._clock()
        try:
            answer = await self._caller.ask(GetAccess(user_id=user_id), timeout=PATIENCE)
        except Refused as refused:
            known = self._known.pop(user_id, None)
            if refused.code in AWAY and known and asked_at - known.confirmed_at < USABLE:
                self._known[user_id] = Known(known.access, self._clock(), known.confirmed_at)
                return known.access
            if refused.code == "DEVELOPER_NOT_FOUND":
                raise Refused("TOKEN_INVALID", "The user of this token is gone.") from None
            raise
        access = Access.model_validate_json(answer)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[user_id] = Known(access, asked_at, asked_at)
        return access
