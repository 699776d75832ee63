"""The request that exchanges a code for tokens: code verifier and client authentication."""

from datetime import UTC, datetime

import pytest

from libs.settings import OidcSettings, Settings
from services.identity.oidc.provider import OidcProvider, ProviderMetadata
from services.identity.oidc.provider_requests import ProviderRequest
from services.identity.oidc.sign_in_state import SignInState

ISSUER = "https://sso.example.org"
METADATA = ProviderMetadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize",
    token_endpoint=f"{ISSUER}/token",
    jwks_uri=f"{ISSUER}/keys",
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[ProviderRequest]:
    requests: list[ProviderRequest] = []

    async def send(_settings: Settings, request: ProviderRequest) -> dict[str, str]:
        requests.append(request)
        return {"id_token": "a.b.c"}

    monkeypatch.setattr("services.identity.oidc.provider.send", send)
    return requests


async def exchange(secret: str, *methods: str) -> None:
    settings = Settings(oidc=OidcSettings(issuer=ISSUER, client_id="headrace", client_secret=secret))
    metadata = METADATA.model_copy(update={"token_endpoint_auth_methods_supported": methods})
    await OidcProvider().exchange_code(settings, metadata, "the code", "the verifier", "https://ci.example/callback")


def test_the_challenge_is_that_of_the_standard() -> None:
    """RFC 7636, appendix B."""
    state = SignInState(
        issuer=ISSUER,
        redirect_uri="https://ci.example/callback",
        expires_at=datetime.now(UTC),
        verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    )
    assert state.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_the_code_is_sent_with_its_verifier_and_redirect_uri(sent: list[ProviderRequest]) -> None:
    await exchange("hush", "client_secret_post", "client_secret_basic")
    [request] = sent
    assert request.form == {
        "grant_type": "authorization_code",
        "code": "the code",
        "code_verifier": "the verifier",
        "redirect_uri": "https://ci.example/callback",
    }
    assert (request.login, "hush" in repr(request)) == (("headrace", "hush"), False)


async def test_a_provider_without_basic_authentication_gets_the_secret_in_the_form(sent: list[ProviderRequest]) -> None:
    await exchange("hush", "client_secret_post")
    [request] = sent
    assert (request.login, request.form and request.form["client_secret"]) == (None, "hush")


async def test_a_public_client_sends_no_secret(sent: list[ProviderRequest]) -> None:
    await exchange("", "client_secret_basic")
    [request] = sent
    assert (request.login, {*(request.form or {})} & {"client_id", "client_secret"}) == (None, {"client_id"})


@pytest.mark.parametrize(
    ("issuer", "changes", "usable"),
    [
        (ISSUER, {}, True),
        (f"{ISSUER}/", {}, False),
        (ISSUER, {"token_endpoint": "http://sso.example.org/token"}, False),
        (ISSUER, {"userinfo_endpoint": "ftp://sso.example.org"}, False),
    ],
)
def test_metadata_must_be_that_of_the_issuer_and_use_tls(issuer: str, changes: dict[str, str], usable: bool) -> None:
    assert (METADATA.model_copy(update=changes).find_problem(issuer) is None) == usable
