"""Who is asking: tokens are checked here, and what their user may do now is asked of identity."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from contracts.errors import Refused
from contracts.identity import (
    TOKEN_PREFIX,
    Access,
    GetAccess,
    GetTokenAccess,
    PublicKeys,
    TokenAccess,
    TokenScope,
    VerificationKeys,
)
from gateway.remembering import Remembered
from libs.deciding import Actor
from libs.messaging import Caller
from libs.security.tokens import KeyUnknown, TokenClaims, TokenExpired, TokenInvalid, read, token_hash

KEYS_PAUSE = 1.0  # seconds between two questions for keys, however many tokens of strangers come
KEYS_OLD = 60.0  # seconds after which keys are asked for again: so long one that was withdrawn is still good
MOST = 10_000  # remembered tokens of log-ins
LONGEST = 4096  # characters of a signed token; ours have some 400
PERSONAL = re.compile(rf"{TOKEN_PREFIX}[\w-]{{43}}", re.ASCII)
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


class Doorkeeper:
    """Two kinds of tokens: signed ones of a log-in, which are checked here, and personal ones, which identity knows."""

    def __init__(self, caller: Caller, clock: Callable[[], float] = time.monotonic) -> None:
        self._caller = caller
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._keys_asked_at = float("-inf")
        self._keys_known_at = float("-inf")  # when the question was asked that was answered last
        self._asking_keys: asyncio.Task[None] | None = None
        self._claims: dict[str, TokenClaims] = {}
        self._users = Remembered[int, Access](self._ask_access, clock)
        self._tokens = Remembered[str, TokenAccess](self._ask_token_access, clock)

    async def admit(self, headers: Mapping[bytes, bytes], needs: Role, scope: TokenScope | None) -> Actor:
        """Who asks, if they may; without a scope only after a log-in.

        Raises Refused with UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_SCOPE or FORBIDDEN.
        """
        token = token_from(headers)
        if PERSONAL.fullmatch(token):
            access = await self._of_personal(token, scope)
        else:
            access = await self._of_log_in(token)
        if needs is not Role.USER and needs not in access.roles:
            raise Refused("FORBIDDEN", f"This address needs {needs}.")
        return Actor(access.user_id, access.username, access.roles)

    async def _of_log_in(self, token: str) -> Access:
        claims = await self._read(token)
        access = await self._users.get(claims.user_id)
        if not access.enabled or access.epoch != claims.epoch:
            raise Refused("TOKEN_INVALID", "The user was disabled or changed since; log in again.")
        return access

    async def _of_personal(self, token: str, scope: TokenScope | None) -> Access:
        known = await self._tokens.get(token_hash(token))
        if not known.access.enabled:
            raise Refused("TOKEN_INVALID", "The user was disabled.")
        if known.expires_at and datetime.now(UTC).date() > known.expires_at:
            raise Refused("TOKEN_EXPIRED", f"The last day of this token was {known.expires_at}.")
        if scope is None:
            raise Refused("TOKEN_SCOPE", "This address needs a log-in; a personal token does not do.")
        if known.scopes and scope not in known.scopes:
            raise Refused("TOKEN_SCOPE", f"This address needs a token with the scope {scope}.")
        return known.access

    async def _read(self, token: str) -> TokenClaims:
        self._refresh_old_keys()
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
        """The key may be newer than those we have: ask, and only an answer from after that says no."""
        if len(token) > LONGEST:
            raise TokenInvalid("too long")
        begun = self._clock()
        while True:
            try:
                return read(token, self._keys)
            except KeyUnknown:
                if self._keys_known_at >= begun:
                    raise
                # shielded: the question is everybody's, also when the client that started it goes away
                await asyncio.shield(self._refresh_keys())

    def _refresh_old_keys(self) -> None:
        """Keys are withdrawn, too; nobody waits for that."""
        if self._keys and self._clock() - self._keys_asked_at > KEYS_OLD:
            self._refresh_keys()

    def _refresh_keys(self) -> asyncio.Task[None]:
        if self._asking_keys is None or self._asking_keys.done():
            self._asking_keys = asyncio.create_task(self._ask_keys())
            self._asking_keys.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._asking_keys

    async def _ask_keys(self) -> None:
        if self._keys:
            await asyncio.sleep(self._keys_asked_at + KEYS_PAUSE - self._clock())
        self._keys_asked_at = self._clock()
        answer = await self._caller.ask(PublicKeys(), timeout=PATIENCE)
        keys = VerificationKeys.model_validate_json(answer).keys
        if not self._keys.keys() <= keys.keys():
            self._claims.clear()  # they may rest on a key that is no more
        self._keys, self._keys_known_at = keys, self._keys_asked_at

    async def _ask_access(self, user_id: int) -> Access:
        try:
            answer = await self._caller.ask(GetAccess(user_id=user_id), timeout=PATIENCE)
        except Refused as refused:
            if refused.code == "DEVELOPER_NOT_FOUND":
                raise Refused("TOKEN_INVALID", "The user of this token is gone.") from None
            raise
        return Access.model_validate_json(answer)

    async def _ask_token_access(self, hashed: str) -> TokenAccess:
        answer = await self._caller.ask(GetTokenAccess(token_hash=hashed), timeout=PATIENCE)
        return TokenAccess.model_validate_json(answer)
