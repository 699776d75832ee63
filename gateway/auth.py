"""Who is asking: tokens are checked here, and what their user may do now is asked of identity."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from contracts.errors import RequestRejected
from contracts.identity import (
    TOKEN_PREFIX,
    Access,
    GetAccess,
    GetTokenAccess,
    GetVerificationKeys,
    TokenAccess,
    TokenScope,
    VerificationKeys,
)
from gateway.access_cache import StaleIfErrorCache
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import ExpiredToken, InvalidToken, TokenClaims, UnknownKey, hash_token, verify_token

KEY_REQUEST_INTERVAL_SECONDS = 1.0  # seconds between two questions for keys, however many tokens of strangers come
KEY_MAX_AGE_SECONDS = 60.0  # seconds after which keys are asked for again: so long one that was withdrawn is still good
MAX_CACHED_CLAIMS = 10_000  # remembered tokens of log-ins
MAX_TOKEN_LENGTH = 4096  # characters of a signed token; ours have some 400
PERSONAL_TOKEN = re.compile(rf"{TOKEN_PREFIX}[\w-]{{43}}", re.ASCII)
TIMEOUT_SECONDS = 1.0  # seconds


class Role(StrEnum):
    """What a route needs. There is no hierarchy: an administrator is no developer unless both are given."""

    ANONYMOUS = ""
    USER = "any token"
    DEVELOPER = "ROLE_DEVELOPER"
    ADMIN = "ROLE_ADMIN"


def role_for_path(path: str) -> Role:
    """Free Commit's rule: the first segment below the prefix says who may call."""
    match path.split("/")[1]:
        case "guest" | "auth":
            return Role.ANONYMOUS
        case "developer":
            return Role.DEVELOPER
        case "admin":
            return Role.ADMIN
        case _:
            return Role.USER


def read_token(headers: Mapping[bytes, bytes]) -> str:
    """`Bearer <token>` or `token <token>`."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() not in {"bearer", "token"} or not token.strip():
        raise RequestRejected("UNAUTHORIZED", "This address needs a token: `Authorization: Bearer <token>`.")
    return token.strip()


class Authenticator:
    """Two kinds of tokens: signed ones of a log-in, which are checked here, and personal ones, which identity knows."""

    def __init__(self, caller: MessageClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._caller = caller
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._keys_requested_at = float("-inf")
        self._keys_confirmed_at = float("-inf")  # when the question was asked that was answered last
        self._key_request: asyncio.Task[None] | None = None
        self._claims: dict[str, TokenClaims] = {}
        self._access_by_user = StaleIfErrorCache[int, Access](self._fetch_access, clock)
        self._access_by_token = StaleIfErrorCache[str, TokenAccess](self._fetch_token_access, clock)

    async def authenticate(
        self, headers: Mapping[bytes, bytes], required_role: Role, scope: TokenScope | None
    ) -> Actor:
        """Who asks, if they may; without a scope only after a log-in.

        Raises Refused with UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_SCOPE or FORBIDDEN.
        """
        token = read_token(headers)
        if PERSONAL_TOKEN.fullmatch(token):
            access = await self._check_personal_token(token, scope)
        else:
            access = await self._check_login_token(token)
        if required_role is not Role.USER and required_role not in access.roles:
            raise RequestRejected("FORBIDDEN", f"This address needs {required_role}.")
        return Actor(access.user_id, access.username, access.roles)

    async def _check_login_token(self, token: str) -> Access:
        claims = await self._verify_cached(token)
        access = await self._access_by_user.get(claims.user_id)
        if not access.enabled or access.epoch != claims.epoch:
            raise RequestRejected("TOKEN_INVALID", "The user was disabled or changed since; log in again.")
        return access

    async def _check_personal_token(self, token: str, scope: TokenScope | None) -> Access:
        known = await self._access_by_token.get(hash_token(token))
        if not known.access.enabled:
            raise RequestRejected("TOKEN_INVALID", "The user was disabled.")
        if known.expires_at and datetime.now(UTC).date() > known.expires_at:
            raise RequestRejected("TOKEN_EXPIRED", f"The last day of this token was {known.expires_at}.")
        if scope is None:
            raise RequestRejected("TOKEN_SCOPE", "This address needs a log-in; a personal token does not do.")
        if known.scopes and scope not in known.scopes:
            raise RequestRejected("TOKEN_SCOPE", f"This address needs a token with the scope {scope}.")
        return known.access

    async def _verify_cached(self, token: str) -> TokenClaims:
        self._refresh_stale_keys()
        if known := self._claims.get(token):
            if datetime.now(UTC) < known.expires_at:
                return known
            del self._claims[token]
        try:
            claims = await self._verify(token)
        except ExpiredToken:
            raise RequestRejected("TOKEN_EXPIRED") from None
        except InvalidToken:
            raise RequestRejected("TOKEN_INVALID") from None
        if len(self._claims) >= MAX_CACHED_CLAIMS:
            self._claims.clear()
        self._claims[token] = claims
        return claims

    async def _verify(self, token: str) -> TokenClaims:
        """The key may be newer than those we have: ask, and only an answer from after that says no."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken("too long")
        begun = self._clock()
        while True:
            try:
                return verify_token(token, self._keys)
            except UnknownKey:
                if self._keys_confirmed_at >= begun:
                    raise
                # shielded: the question is everybody's, also when the client that started it goes away
                await asyncio.shield(self._refresh_keys())

    def _refresh_stale_keys(self) -> None:
        """Keys are withdrawn, too; nobody waits for that."""
        if self._keys and self._clock() - self._keys_requested_at > KEY_MAX_AGE_SECONDS:
            self._refresh_keys()

    def _refresh_keys(self) -> asyncio.Task[None]:
        if self._key_request is None or self._key_request.done():
            self._key_request = asyncio.create_task(self._fetch_keys())
            self._key_request.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._key_request

    async def _fetch_keys(self) -> None:
        if self._keys:
            await asyncio.sleep(self._keys_requested_at + KEY_REQUEST_INTERVAL_SECONDS - self._clock())
        self._keys_requested_at = self._clock()
        answer = await self._caller.query(GetVerificationKeys(), timeout=TIMEOUT_SECONDS)
        keys = VerificationKeys.model_validate_json(answer).keys
        if not self._keys.keys() <= keys.keys():
            self._claims.clear()  # they may rest on a key that is no more
        self._keys, self._keys_confirmed_at = keys, self._keys_requested_at

    async def _fetch_access(self, user_id: int) -> Access:
        try:
            answer = await self._caller.query(GetAccess(user_id=user_id), timeout=TIMEOUT_SECONDS)
        except RequestRejected as refused:
            if refused.code == "DEVELOPER_NOT_FOUND":
                raise RequestRejected("TOKEN_INVALID", "The user of this token is gone.") from None
            raise
        return Access.model_validate_json(answer)

    async def _fetch_token_access(self, hashed: str) -> TokenAccess:
        answer = await self._caller.query(GetTokenAccess(token_hash=hashed), timeout=TIMEOUT_SECONDS)
        return TokenAccess.model_validate_json(answer)
