"""The OpenID provider: its metadata, its keys, and the exchange of a code for tokens."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from cachetools import TTLCache
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import RequestRejected
from libs.settings import Settings
from services.identity.oidc.id_tokens import Jwk
from services.identity.oidc.provider_requests import ProviderRequest, ProviderUnavailable, send

METADATA_PATH = "/.well-known/openid-configuration"
CACHE_SECONDS = 600.0  # for metadata and keys
MIN_REFRESH_SECONDS = 10.0  # a token with an unknown key requests the keys again, if they are at least this old
MAX_KEYS = 100
MAX_CONCURRENT_SIGN_INS = 32
BUSY_SECONDS = 5
BASIC = "client_secret_basic"

M = TypeVar("M", bound=BaseModel)


class ProviderMetadata(BaseModel):
    """The part of the metadata that is used (OpenID Connect Discovery 1.0, section 3)."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = (BASIC,)
    authorization_response_iss_parameter_supported: bool = False

    def find_problem(self, issuer: str) -> str | None:
        """Return why the metadata cannot be used, or None."""
        if self.issuer != issuer:
            return "the provider has another issuer than HEADRACE_OIDC_ISSUER; they must be equal, also in a last slash"
        schemes = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
        urls = (self.authorization_endpoint, self.token_endpoint, self.jwks_uri, self.userinfo_endpoint)
        if not all(url.startswith(schemes) for url in urls if url):
            return "a URL in the provider's metadata does not use https"
        return None


class Tokens(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id_token: str = Field(repr=False)
    access_token: str = Field("", repr=False)


class OidcProvider:
    """A client of the provider. Metadata and keys are cached by URL."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._metadata = TTLCache[str, ProviderMetadata](4, CACHE_SECONDS, clock)
        self._keys = TTLCache[str, tuple[Jwk, ...]](4, CACHE_SECONDS, clock)
        self._keys_requested_at = dict[str, float]()
        self._users = 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Count a sign-in that waits for the provider. Raises RequestRejected with TOO_MANY_REQUESTS above the limit.

        Without the limit, a provider that hangs would occupy all requests that the service handles at a time.
        """
        if self._users >= MAX_CONCURRENT_SIGN_INS:
            raise RequestRejected("TOO_MANY_REQUESTS", retry_after=BUSY_SECONDS)
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def get_metadata(self, settings: Settings) -> ProviderMetadata:
        """Return the metadata. Raises ProviderUnavailable or ProviderRefused."""
        issuer = settings.oidc.issuer
        if cached := self._metadata.get(issuer):
            return cached
        found = await send(settings, ProviderRequest("GET", issuer.rstrip("/") + METADATA_PATH))
        metadata = _parse(ProviderMetadata, found, "metadata")
        if problem := metadata.find_problem(issuer):
            raise ProviderUnavailable(problem)
        self._metadata[issuer] = metadata
        return metadata

    async def get_keys(self, settings: Settings, metadata: ProviderMetadata, *, refresh: bool = False) -> Sequence[Jwk]:
        """Return the keys that sign ID tokens. Raises ProviderUnavailable or ProviderRefused.

        `refresh` requests the keys again, unless the last request was less than MIN_REFRESH_SECONDS ago.
        """
        url = metadata.jwks_uri
        cached = self._keys.get(url)
        age = self._clock() - self._keys_requested_at.get(url, float("-inf"))
        if cached is not None and (not refresh or age < MIN_REFRESH_SECONDS):
            return cached
        requested_at = self._clock()
        found = (await send(settings, ProviderRequest("GET", url))).get("keys")
        if not isinstance(found, list):
            raise ProviderUnavailable("the provider's list of keys is malformed")
        self._keys[url] = keys = tuple(key for key in found[:MAX_KEYS] if isinstance(key, dict))
        self._keys_requested_at = {url: requested_at}
        return keys

    async def exchange_code(
        self, settings: Settings, metadata: ProviderMetadata, code: str, verifier: str, redirect_uri: str
    ) -> Tokens:
        """Exchange the code for tokens. Raises ProviderUnavailable or ProviderRefused."""
        client_id, secret = settings.oidc.client_id, settings.oidc.client_secret
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        login = (client_id, secret) if secret and BASIC in metadata.token_endpoint_auth_methods_supported else None
        if login is None:
            form |= {"client_id": client_id} | ({"client_secret": secret} if secret else {})
        request = ProviderRequest("POST", metadata.token_endpoint, form=form, login=login)
        return _parse(Tokens, await send(settings, request), "token response")

    async def get_user_info(
        self, settings: Settings, metadata: ProviderMetadata, access_token: str
    ) -> Mapping[str, Any]:
        """Return the claims of the userinfo endpoint; none without such an endpoint or without an access token.

        Raises ProviderUnavailable or ProviderRefused.
        """
        if not metadata.userinfo_endpoint or not access_token:
            return {}
        return await send(settings, ProviderRequest("GET", metadata.userinfo_endpoint, access_token=access_token))


def _parse(model: type[M], found: Mapping[str, Any], name: str) -> M:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        fields = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors(include_input=False)}))
        raise ProviderUnavailable(f"the provider's {name} has no valid {fields}") from None
