"""Sign-in with an OpenID provider: authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636)."""

from typing import Annotated

from pydantic import Field

from contracts.messages import Command, Message, Sensitive

MAX_REDIRECT_URI_LENGTH = 2048
MAX_STATE_LENGTH = 4096
MAX_CODE_LENGTH = 4096  # characters; providers with signed codes use up to 2,000


class StartOidcSignIn(Command):
    """Begin a sign-in. Nothing is stored: the caller keeps `sealed_state` until the response. Answer: OidcRequest.

    With `user_id`, the sign-in links this user, who is signed in, to the account at the provider.

    Errors: OIDC_DISABLED, OIDC_PROVIDER_UNAVAILABLE, TOO_MANY_REQUESTS, DEVELOPER_NOT_FOUND.
    """

    redirect_uri: Annotated[str, Field(max_length=MAX_REDIRECT_URI_LENGTH)]
    user_id: int | None = None


class OidcRequest(Message):
    url: Sensitive  # URL at the provider, where the browser continues
    sealed_state: Sensitive  # encrypted: state, nonce and code verifier of this sign-in


class FinishOidcSignIn(Command):
    """Handle the provider's response: sign in the account's user, or link the user who started the sign-in.

    If the settings allow it, a sign-in with an unknown account creates a user. At each sign-in, roles for which a group
    is configured follow the account's groups. Answer: OidcSignIn. Errors: TOO_MANY_REQUESTS, DEVELOPER_IDENTITY_TAKEN,
    and all codes that begin with OIDC_.
    """

    sealed_state: Annotated[str, Field(repr=False, max_length=MAX_STATE_LENGTH)]
    state: Annotated[str, Field(repr=False, max_length=MAX_STATE_LENGTH)]
    code: Annotated[str, Field(repr=False, max_length=MAX_CODE_LENGTH)] = ""
    error: Annotated[str, Field(max_length=MAX_STATE_LENGTH)] = ""  # code of the provider's error (RFC 6749)
    issuer: Annotated[str, Field(max_length=MAX_REDIRECT_URI_LENGTH)] | None = None  # issuer in the response (RFC 9207)


class OidcSignIn(Message):
    """The session of the user. If the sign-in linked a user, there is no token: this user is signed in already."""

    access_token: Annotated[str | None, Field(repr=False)] = None
    expires_in: int = 0  # seconds until the token expires; 0: no token
