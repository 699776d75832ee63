"""What a sign-in must remember until the provider's response: encrypted, and kept by the browser in a cookie.

Any replica can handle the response, and nothing is stored here for sign-ins that are not completed.
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
    user_id: int | None = None  # the user to link
    epoch: int | None = None  # of this user

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def seal(ctx: Context, state: SignInState) -> str:
    return await ctx.vault.encrypt(ENCRYPTION_SUBJECT, state.model_dump_json(exclude_none=True))


async def unseal(ctx: Context, sealed: str, received_state: str) -> SignInState:
    """Return the state of the sign-in. Raise RequestRejected with OIDC_STATE_INVALID.

    It must be that of the configured provider, not older than MAX_AGE, and contain the state in the response.
    """
    try:
        opened = SignInState.model_validate_json(await ctx.vault.decrypt(ENCRYPTION_SUBJECT, sealed))
    except (DecryptionFailed, KeyErased, ValidationError):
        raise RequestRejected("OIDC_STATE_INVALID") from None
    is_current = opened.expires_at > ctx.clock.database_time() and opened.issuer == ctx.settings.oidc.issuer
    if not is_current or not constant_time_equals(opened.state, received_state):
        raise RequestRejected("OIDC_STATE_INVALID")
    return opened
