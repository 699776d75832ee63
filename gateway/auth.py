"""Authentication and authorization. Login tokens are verified here; access rights come from the identity service."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from cachetools import LRUCache

from contracts.errors import RequestRejected
from contracts.identity import (
    TOKEN_PREFIX,
    Access,
    AuthenticateToken,
    GetAccess,
    GetVerificationKeys,
    TokenAccess,
    TokenScope,
    VerificationKeys,
)
from gateway.access_cache import StaleIfErrorCache
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import REQUEST_TIMEOUT_SECONDS, MessageClient
from libs.security.tokens import ExpiredToken, InvalidToken, TokenClaims, UnknownKey, hash_token, verify_token
from libs.tasks import SharedTasks

KEY_REQUEST_INTERVAL_SECONDS = 1.0  # minimum time between requests for keys; many tokens may have unknown keys
KEY_MAX_AGE_SECONDS = 60.0  # older keys are reloaded, so a withdrawn key is accepted for about this time
MAX_CACHED_CLAIMS = 10_000  # limit of cached verified login tokens
MAX_TOKEN_LENGTH = 4096  # characters; tokens issued by identity have about 400
PERSONAL_TOKEN = re.compile(rf"{TOKEN_PREFIX}[\w-]{{43}}", re.ASCII)
REFRESH_TIMEOUT_SECONDS = 2.0  # timeout if access is cached, so that a service that hangs does not delay each request


class Role(StrEnum):
    """The role that a route requires. Roles have no hierarchy: administrators are not implicitly developers."""

    USER = "any token"
    DEVELOPER = "ROLE_DEVELOPER"
    ADMIN = "ROLE_ADMIN"


def read_token(headers: Mapping[bytes, bytes]) -> str:
    """Return the token from `Authorization: Bearer <token>` or `token <token>`. Raises UNAUTHORIZED."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() not in {"bearer", "token"} or not token.strip():
        raise RequestRejected("UNAUTHORIZED", "This request needs a token: `Authorization: Bearer <token>`.")
    return token.strip()


class Authenticator:
    """Authenticates requests by a login token or a personal token.

    Login tokens are signed by the identity service and verified here. Personal tokens are looked up by hash.
    """

    def __init__(self, bus: MessageClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._keys_requested_at = float("-inf")
        self._keys_confirmed_at = float("-inf")  # start time of the latest successful request for keys
        self._key_requests = SharedTasks[None, None]()
        self._claims = LRUCache[str, TokenClaims](MAX_CACHED_CLAIMS)
        self._access_by_user = StaleIfErrorCache[int, Access](self._fetch_access, clock)
        self._access_by_token = StaleIfErrorCache[str, TokenAccess](self._fetch_token_access, clock)

    async def authenticate(
        self,
        token: str,
        required_role: Role,
        scope: TokenScope | None,
        before_lookup: Callable[[], None] = lambda: None,
    ) -> Actor:
        """Return the user if the token is valid and allows the request. Without `scope`, no personal token allows it.

        `before_lookup` is called before a personal token is looked up, and may raise to prevent that.

        Raises TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_SCOPE or FORBIDDEN; also SERVICE_UNAVAILABLE and SERVICE_TIMEOUT, if
        the identity service does not respond.
        """
        if PERSONAL_TOKEN.fullmatch(token):
            access = await self._check_personal_token(token, scope, before_lookup)
        else:
            access = await self._check_login_token(token)
        if required_role is not Role.USER and required_role not in access.roles:
            raise RequestRejected("FORBIDDEN", f"This request needs the role {required_role}.")
        return Actor(access.user_id, access.username, access.roles)

    async def _check_login_token(self, token: str) -> Access:
        claims = await self._verify_cached(token)
        access = await self._access_by_user.get(claims.user_id)
        if not access.enabled or access.epoch != claims.epoch:
            raise RequestRejected(
                "TOKEN_INVALID", "The user was disabled or changed since this token was issued. Sign in again."
            )
        return access

    async def _check_personal_token(
        self, token: str, scope: TokenScope | None, before_lookup: Callable[[], None]
    ) -> Access:
        token_hash = hash_token(token)
        if token_hash not in self._access_by_token:
            before_lookup()
        token_access = await self._access_by_token.get(token_hash)
        if not token_access.access.enabled:
            raise RequestRejected("TOKEN_INVALID", "The user is disabled.")
        if token_access.expires_at and datetime.now(UTC).date() > token_access.expires_at:
            raise RequestRejected("TOKEN_EXPIRED", f"This token expired after {token_access.expires_at}.")
        if scope is None:
            raise RequestRejected("TOKEN_SCOPE", "Personal access tokens cannot be used here. Sign in instead.")
        if token_access.scopes and scope not in token_access.scopes:
            raise RequestRejected("TOKEN_SCOPE", f"This request needs a token with the scope {scope}.")
        return token_access.access

    async def _verify_cached(self, token: str) -> TokenClaims:
        self._refresh_stale_keys()
        if cached := self._claims.get(token):
            if datetime.now(UTC) < cached.expires_at:
                return cached
            del self._claims[token]
        try:
            claims = await self._verify(token)
        except ExpiredToken:
            raise RequestRejected("TOKEN_EXPIRED") from None
        except InvalidToken:
            raise RequestRejected("TOKEN_INVALID") from None
        self._claims[token] = claims
        return claims

    async def _verify(self, token: str) -> TokenClaims:
        """Verify the signature. Raises InvalidToken, ExpiredToken, or RequestRejected if keys cannot be requested.

        If the token's key is not cached, the keys are requested again, because the key may be new. The token is invalid
        if keys that were requested after the start of this call do not contain it either.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken("too long")
        started_at = self._clock()
        while True:
            try:
                return verify_token(token, self._keys)
            except UnknownKey:
                if self._keys_confirmed_at >= started_at:
                    raise
                await self._key_requests.wait(None, self._fetch_keys)

    def _refresh_stale_keys(self) -> None:
        """Reload keys in the background once they reach KEY_MAX_AGE_SECONDS: some may have been withdrawn."""
        if self._keys and self._clock() - self._keys_requested_at > KEY_MAX_AGE_SECONDS:
            self._key_requests.start(None, self._fetch_keys)

    async def _fetch_keys(self) -> None:
        if self._keys:
            await asyncio.sleep(self._keys_requested_at + KEY_REQUEST_INTERVAL_SECONDS - self._clock())
        self._keys_requested_at = self._clock()
        answer = await self._bus.query(GetVerificationKeys())
        keys = VerificationKeys.model_validate_json(answer).keys
        if not self._keys.keys() <= keys.keys():
            self._claims.clear()  # some tokens may be signed with a withdrawn key
        self._keys, self._keys_confirmed_at = keys, self._keys_requested_at

    async def _fetch_access(self, user_id: int) -> Access:
        try:
            timeout = _timeout(user_id in self._access_by_user)
            answer = await self._bus.query(GetAccess(user_id=user_id), timeout=timeout)
        except RequestRejected as rejection:
            if rejection.code == "DEVELOPER_NOT_FOUND":
                raise RequestRejected("TOKEN_INVALID", "The user of this token was deleted.") from None
            raise
        return Access.model_validate_json(answer)

    async def _fetch_token_access(self, token_hash: str) -> TokenAccess:
        timeout = _timeout(token_hash in self._access_by_token)
        answer = await self._bus.send(AuthenticateToken(token_hash=token_hash), timeout=timeout)
        return TokenAccess.model_validate_json(answer)


def _timeout(cached: bool) -> float:
    return REFRESH_TIMEOUT_SECONDS if cached else REQUEST_TIMEOUT_SECONDS
