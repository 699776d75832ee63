"""Personal API tokens. The value of a token is returned once, at creation. Only its hash is stored."""

from datetime import date, datetime, timedelta
from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import (
    TOKEN_PREFIX,
    ApiTokens,
    ApiTokenView,
    AuthenticateToken,
    CreateApiToken,
    ListApiTokens,
    TokenAccess,
)
from libs.eventstore.repository import CommandResult
from libs.security.tokens import constant_time_equals, hash_token
from libs.service.declaration import Context
from services.identity.domain.internal_commands import AddApiToken
from services.identity.projections import TokenRow, UserRow
from services.identity.queries import require_user
from services.identity.views import to_access

USES_COLLECTION = "token_uses"  # last use of each token, deleted after USE_RETENTION
USE_RECORD_INTERVAL = timedelta(minutes=1)
USE_RETENTION = timedelta(days=365)


async def prepare_api_token(ctx: Context, command: CreateApiToken) -> AddApiToken:
    """Allocate the ids. The value is derived from the command id, so a repeated command returns the same token."""
    return AddApiToken(
        **dict(command),
        token_id=await ctx.next_id("token"),
        token_uuid=str(uuid4()),
        token_hash=hash_token(await ctx.derive_token(TOKEN_PREFIX)),
        today=ctx.metadata.at.date(),
    )


async def show_api_token(ctx: Context, _command: CreateApiToken, result: CommandResult[UserRow]) -> ApiTokenView:
    """Return the token that the command created, with its value."""
    return to_token_view(result.row.tokens[-1], None, await ctx.derive_token(TOKEN_PREFIX))


async def list_api_tokens(ctx: Context, query: ListApiTokens) -> ApiTokens:
    row = await require_user(ctx, query.user_id)
    condition = {"_id": {"$in": [token.id for token in row.tokens]}}
    last_uses = {use["_id"]: use["at"] async for use in ctx.collection(USES_COLLECTION).find(condition)}
    tokens = sorted(row.tokens, key=lambda token: token.id)
    return ApiTokens(tokens=tuple(to_token_view(token, last_uses.get(token.id)) for token in tokens))


async def authenticate_token(ctx: Context, command: AuthenticateToken) -> TokenAccess:
    """Record the use of a token. Return its owner's access, its scopes and its last valid day.

    The caller must reject an expired token: it is returned, but its use is not recorded. Raises RequestRejected with
    TOKEN_INVALID if the token does not exist.
    """
    row = await ctx.read_model(UserRow).find_one({"tokens.token_hash": command.token_hash})
    tokens = row.tokens if row else ()
    token = next((token for token in tokens if constant_time_equals(token.token_hash, command.token_hash)), None)
    if row is None or token is None:
        raise RequestRejected("TOKEN_INVALID", "The token does not exist or was revoked.")
    last_day = date.fromisoformat(token.expires_at) if token.expires_at else None
    if last_day is None or ctx.metadata.at.date() <= last_day:
        await record_use(ctx, token.id)
    return TokenAccess(access=to_access(row), scopes=token.scopes, expires_at=last_day)


async def record_use(ctx: Context, token_id: int) -> None:
    """Record the last use of a token, at most once per USE_RECORD_INTERVAL."""
    now = ctx.metadata.at
    stored = await ctx.collection(USES_COLLECTION).find_one({"_id": token_id})
    if stored is None or stored["at"] < now - USE_RECORD_INTERVAL:
        use = {"at": now, "gone_at": now + USE_RETENTION}
        await ctx.collection(USES_COLLECTION).update_one({"_id": token_id}, {"$max": use}, upsert=True)


def to_token_view(token: TokenRow, last_used_at: datetime | None, value: str | None = None) -> ApiTokenView:
    return ApiTokenView(
        id=token.id,
        uuid=token.uuid,
        name=token.name,
        scopes=token.scopes,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=last_used_at,
        value=value,
    )
