"""Rules for the personal API tokens of a user."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import ApiTokenCreated
from services.identity.domain.internal_commands import AddApiToken

MAX_TOKENS_PER_USER = 100
FORBIDDEN_NAME_CHARACTERS = frozenset("{}$")


def add_token(token_ids: Sequence[int], command: AddApiToken) -> ApiTokenCreated:
    """Return the event that adds the token. `token_ids`: ids of the tokens that the user already has.

    Raises RequestRejected for an invalid name, a past expiry day, or one token too many.
    """
    name = (command.name or "").strip()
    if not name:
        raise RequestRejected("TOKEN_NAME_REQUIRED")
    if FORBIDDEN_NAME_CHARACTERS & set(name):
        raise RequestRejected("TOKEN_NAME_INVALID")
    if command.expires_at and command.expires_at < command.today:
        raise RequestRejected("TOKEN_EXPIRES_AT_INVALID")
    if len(token_ids) >= MAX_TOKENS_PER_USER:
        raise RequestRejected("TOKEN_LIMIT")
    return ApiTokenCreated(
        user_id=command.user_id,
        token_id=command.token_id,
        token_uuid=command.token_uuid,
        token_hash=command.token_hash,
        name=name,
        expires_at=command.expires_at.isoformat() if command.expires_at else None,
        scopes=tuple(dict.fromkeys(command.scopes)),
    )
