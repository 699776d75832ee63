"""The two steps of a sign-in with the OpenID provider: the request to the provider, and its response."""

import logging
from typing import NoReturn
from urllib.parse import urlencode

from contracts.errors import RequestRejected
from contracts.identity import (
    FinishOidcSignIn,
    GetIdentityLink,
    IdentityLink,
    LinkIdentity,
    OidcRequest,
    OidcSignIn,
    StartOidcSignIn,
)
from libs.service.declaration import Context
from services.identity.authentication.login import issue_session
from services.identity.domain.identity_link import validate_subject
from services.identity.domain.internal_commands import Identity, SetIdentity
from services.identity.oidc.accounts import Claims, has_wanted_claims
from services.identity.oidc.id_tokens import Expectation, InvalidIdToken, UnknownSigningKey, verify_id_token
from services.identity.oidc.linked_users import link_account, sign_in_account
from services.identity.oidc.provider import OidcProvider, ProviderMetadata
from services.identity.oidc.provider_requests import ProviderRefused, ProviderUnavailable
from services.identity.oidc.sign_in_state import MAX_AGE, SignInState, seal, unseal
from services.identity.queries import require_user

log = logging.getLogger("headrace.identity")

ACCESS_DENIED = "access_denied"  # RFC 6749, section 4.1.2.1: the user or the provider refused
provider = OidcProvider()


async def start_sign_in(ctx: Context, command: StartOidcSignIn) -> OidcRequest:
    require_enabled(ctx)
    settings = ctx.settings.oidc
    user = await require_user(ctx, command.user_id) if command.user_id else None
    try:
        with provider.in_use():
            metadata = await provider.get_metadata(ctx.settings)
    except (ProviderUnavailable, ProviderRefused) as failure:
        _reject("OIDC_PROVIDER_UNAVAILABLE", failure)
    state = SignInState(
        issuer=settings.issuer,
        redirect_uri=command.redirect_uri,
        expires_at=ctx.clock.database_time() + MAX_AGE,
        user_id=user.id if user else None,
        epoch=user.epoch if user else None,
    )
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": command.redirect_uri,
        "scope": " ".join(settings.scopes),
        "state": state.state,
        "nonce": state.nonce,
        "code_challenge": state.challenge,
        "code_challenge_method": "S256",
    }
    separator = "&" if "?" in metadata.authorization_endpoint else "?"
    url = f"{metadata.authorization_endpoint}{separator}{urlencode(query)}"
    return OidcRequest(url=url, sealed_state=await seal(ctx, state))


async def finish_sign_in(ctx: Context, command: FinishOidcSignIn) -> OidcSignIn:
    """Return a session of the account's user. If the sign-in is for a link, link the user and return no session."""
    require_enabled(ctx)
    state = await unseal(ctx, command.sealed_state, command.state)
    if command.error == ACCESS_DENIED:
        raise RequestRejected("OIDC_DENIED")
    if command.error or not command.code:
        _reject("OIDC_RESPONSE_INVALID", f"the provider reports an error: {command.error[:60]!r}")
    try:
        with provider.in_use():
            claims = await _fetch_claims(ctx, command, state)
    except ProviderUnavailable as failure:
        _reject("OIDC_PROVIDER_UNAVAILABLE", failure)
    except (ProviderRefused, InvalidIdToken) as failure:
        _reject("OIDC_RESPONSE_INVALID", failure)
    identity = Identity(state.issuer, _read_subject(claims))
    if state.user_id is not None:
        await link_account(ctx, state.user_id, state.epoch, identity)
        return OidcSignIn()
    row = await sign_in_account(ctx, identity, claims)
    now = ctx.clock.database_time()
    session = await issue_session(ctx, row, now, signed_in_at=now)
    return OidcSignIn(access_token=session.access_token, expires_in=session.expires_in)


async def _fetch_claims(ctx: Context, command: FinishOidcSignIn, state: SignInState) -> Claims:
    """Exchange the code, and return the verified claims of the account."""
    metadata = await provider.get_metadata(ctx.settings)
    requires_issuer = metadata.authorization_response_iss_parameter_supported
    if command.issuer != metadata.issuer and (requires_issuer or command.issuer is not None):
        raise InvalidIdToken("the response is from another provider")
    tokens = await provider.exchange_code(ctx.settings, metadata, command.code, state.verifier, state.redirect_uri)
    claims = await _verify(ctx, metadata, tokens.id_token, state)
    if has_wanted_claims(claims, ctx.settings.oidc):
        return claims
    user_info = await provider.get_user_info(ctx.settings, metadata, tokens.access_token)
    if user_info and user_info.get("sub") != claims["sub"]:  # OpenID Connect Core, section 5.3.2
        raise InvalidIdToken("the userinfo endpoint describes another account")
    return {**user_info, **claims}


async def _verify(ctx: Context, metadata: ProviderMetadata, token: str, state: SignInState) -> Claims:
    """Verify the ID token. If no cached key has signed it, the keys are requested again."""
    expected = Expectation(state.issuer, ctx.settings.oidc.client_id, state.nonce)
    now = ctx.clock.machine_time()
    try:
        return verify_id_token(token, await provider.get_keys(ctx.settings, metadata), expected, now)
    except UnknownSigningKey:
        newer = await provider.get_keys(ctx.settings, metadata, refresh=True)
        return verify_id_token(token, newer, expected, now)


def _read_subject(claims: Claims) -> str:
    try:
        return validate_subject(claims["sub"] if isinstance(claims["sub"], str) else None)
    except RequestRejected:
        _reject("OIDC_RESPONSE_INVALID", "the claim sub is malformed")


async def prepare_link(ctx: Context, command: LinkIdentity) -> SetIdentity:
    row = await require_user(ctx, command.user_id)
    if not command.subject_id:
        return SetIdentity(row.id, None)
    require_enabled(ctx)
    return SetIdentity(row.id, Identity(ctx.settings.oidc.issuer, validate_subject(command.subject_id)))


async def get_identity_link(ctx: Context, query: GetIdentityLink) -> IdentityLink:
    row = await require_user(ctx, query.user_id)
    return IdentityLink(issuer=row.oidc_issuer, subject=row.oidc_subject)


def require_enabled(ctx: Context) -> None:
    if not ctx.settings.oidc.issuer:
        raise RequestRejected("OIDC_DISABLED")


def _reject(code: str, reason: object) -> NoReturn:
    """Log why the sign-in failed, for the operator, and raise RequestRejected with the code."""
    log.warning("sign-in with the OpenID provider failed: %s", reason)
    raise RequestRejected(code) from None
