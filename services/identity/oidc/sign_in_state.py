"""The state of a sign-in until the provider's response. The browser keeps it, encrypted, in a cookie.

The service stores nothing for a sign-in, and any replica can handle the response.
"""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import RequestRejected
from libs.security.envelope_encryption import DecryptionFailed
from libs.security.erased_keys import KeyErased
from libs.security.tokens import constant_time_equals
from libs.service.declaration import Context

ENCRYPTION_SUBJECT = "oidc-sign-ins"
MAX_AGE = timedelta(minutes=10)


class SignInState(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: str
    redirect_uri: str
    expires_at: datetime
    state: str = Field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = Field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = Field(repr=False, default_factory=lambda: secrets.token_urlsafe(48))  # RFC 7636, section 4.1
    user_id: int | None = None  # the user to link to the account; None: a sign-in without a link
    epoch: int | None = None  # epoch of the user to link, when the sign-in began

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def seal(ctx: Context, state: SignInState) -> str:
    return await ctx.vault.encrypt(ENCRYPTION_SUBJECT, state.model_dump_json(exclude_none=True))


async def unseal(ctx: Context, sealed: str, received_state: str) -> SignInState:
    """Return the decrypted state of a sign-in. `received_state`: the parameter `state` of the provider's response.

    Raises RequestRejected with OIDC_STATE_INVALID if it cannot be decrypted, is for another provider than the
    configured one, is older than MAX_AGE, or has another `state`.
    """
    try:
        opened = SignInState.model_validate_json(await ctx.vault.decrypt(ENCRYPTION_SUBJECT, sealed))
    except (DecryptionFailed, KeyErased, ValidationError):
        raise RequestRejected("OIDC_STATE_INVALID") from None
    is_current = opened.expires_at > ctx.clock.database_time() and opened.issuer == ctx.settings.oidc.issuer
    if not is_current or not constant_time_equals(opened.state, received_state):
        raise RequestRejected("OIDC_STATE_INVALID")
    return opened
