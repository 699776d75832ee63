"""The client of the OpenID provider, on a real provider: metadata, keys, expired tokens, and unusable responses."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from contracts.errors import RequestRejected
from infra.local import ports
from libs.clock import now
from libs.settings import OidcSettings, Settings
from services.identity.oidc.id_tokens import Claims, Expectation, InvalidIdToken, UnknownSigningKey, verify_id_token
from services.identity.oidc.provider import MAX_CONCURRENT_SIGN_INS, MIN_REFRESH_SECONDS, OidcProvider
from services.identity.oidc.provider_requests import ProviderRefused, ProviderUnavailable
from tests.support.external.openid_provider import OpenIdProvider, running_openid_provider

REDIRECT_URI, NONCE = "https://ci.example/callback", "the nonce"


@pytest.fixture(scope="module")
def running() -> Iterator[OpenIdProvider]:
    with running_openid_provider() as provider:
        yield provider


def settings_for(issuer: str, **more: str) -> Settings:
    return Settings(oidc=OidcSettings(issuer=issuer, client_id="headrace", client_secret="s%cret:", **more))


async def fetch_claims(running: OpenIdProvider, client: OidcProvider) -> Claims:
    """Sign in at the provider, exchange the code, and return the claims of the ID token."""
    settings = settings_for(running.issuer)
    metadata = await client.get_metadata(settings)
    query = {
        "response_type": "code",
        "client_id": "headrace",
        "redirect_uri": REDIRECT_URI,
        "scope": "openid",
        "nonce": NONCE,
    }
    answer = await running.authorize(f"{metadata.authorization_endpoint}?{urlencode(query)}", "anna")
    tokens = await client.exchange_code(settings, metadata, answer["code"], "v" * 64, REDIRECT_URI)
    expected = Expectation(running.issuer, "headrace", NONCE)
    return verify_id_token(tokens.id_token, await client.get_keys(settings, metadata), expected, now())


async def test_a_code_is_exchanged_once_for_a_token_of_the_account(running: OpenIdProvider) -> None:
    client, settings = OidcProvider(), settings_for(running.issuer)
    assert (await fetch_claims(running, client))["sub"] == "anna"
    metadata = await client.get_metadata(settings)
    with pytest.raises(ProviderRefused, match="/oauth2/token of the provider answered 400: invalid_grant"):
        await client.exchange_code(settings, metadata, "no such code", "v" * 64, REDIRECT_URI)
    with pytest.raises(ProviderRefused, match="/userinfo of the provider answered"):
        await client.get_user_info(settings, metadata, "no token")


async def test_an_expired_token_is_rejected() -> None:
    max_age = -timedelta(minutes=5)
    with running_openid_provider(token_max_age=max_age) as running, pytest.raises(InvalidIdToken, match="expired"):
        await fetch_claims(running, OidcProvider())


async def test_new_keys_are_requested_for_an_unknown_one_but_not_often() -> None:
    port, at = ports.find_free_port(), 0.0
    client = OidcProvider(lambda: at)
    settings = settings_for(f"http://localhost:{port}")
    with running_openid_provider(port) as running:
        await fetch_claims(running, client)
        old = await client.get_keys(settings, await client.get_metadata(settings))
    with running_openid_provider(port) as running:  # a restarted provider has another key
        with pytest.raises(UnknownSigningKey):
            await fetch_claims(running, client)
        metadata = await client.get_metadata(settings)
        assert await client.get_keys(settings, metadata, refresh=True) == old
        at += MIN_REFRESH_SECONDS
        assert await client.get_keys(settings, metadata, refresh=True) != old
        await fetch_claims(running, client)


def test_sign_ins_that_wait_for_the_provider_are_limited() -> None:
    client = OidcProvider()
    with ExitStack() as waiting:
        for _ in range(MAX_CONCURRENT_SIGN_INS):
            waiting.enter_context(client.in_use())
        with pytest.raises(RequestRejected, match="TOO_MANY_REQUESTS"):
            waiting.enter_context(client.in_use())
    with client.in_use():
        pass


async def test_the_issuer_must_be_the_one_in_the_metadata(running: OpenIdProvider) -> None:
    with pytest.raises(ProviderUnavailable, match="another issuer"):
        await OidcProvider().get_metadata(settings_for(f"{running.issuer}/"))


async def test_a_server_that_is_no_provider_is_reported(running: OpenIdProvider) -> None:
    client = OidcProvider()
    with pytest.raises(ProviderRefused, match="404"):
        await client.get_metadata(settings_for(f"{running.issuer}/realms/main"))
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await client.get_metadata(settings_for(f"http://localhost:{ports.find_free_port()}"))
    metadata = await client.get_metadata(settings_for(running.issuer))
    page = metadata.model_copy(update={"token_endpoint": f"{running.issuer}/", "jwks_uri": f"{running.issuer}/"})
    with pytest.raises(ProviderUnavailable, match="not a JSON object"):
        await client.get_keys(settings_for(running.issuer), page)
