"""Personal API tokens: made and shown once, listed without their values, looked up by their hashes."""

from datetime import date, datetime, timedelta
from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import (
    TOKEN_PREFIX,
    ApiTokens,
    ApiTokenView,
    CreateApiToken,
    GetTokenAccess,
    ListApiTokens,
    RecordApiToken,
    TokenAccess,
)
from libs.security.tokens import constant_time_equals, hash_token
from libs.service.declaration import Context
from services.identity.projections import TokenRow, UserRow, to_access
from services.identity.queries import require_user

USES_COLLECTION = "token_uses"  # one document per token that was used: when, and when that may be forgotten
USE_RECORD_INTERVAL = timedelta(minutes=1)
USE_RETENTION = timedelta(days=365)


async def create_token(ctx: Context, command: CreateApiToken) -> ApiTokenView:
    value = await ctx.derive_token(TOKEN_PREFIX)
    recorded = await ctx.send(
        RecordApiToken(
            **dict(command),
            token_id=await ctx.next_id("token"),
            token_uuid=str(uuid4()),
            token_hash=hash_token(value),
            today=ctx.metadata.at.date(),
        )
    )
    return to_token_view(UserRow.model_validate(recorded.row).tokens[-1], None, value)


async def list_tokens(ctx: Context, query: ListApiTokens) -> ApiTokens:
    row = await require_user(ctx, query.user_id)
    wanted = {"_id": {"$in": [one.id for one in row.tokens]}}
    uses = {one["_id"]: one["at"] async for one in ctx.collection(USES_COLLECTION).find(wanted)}
    return ApiTokens(
        tokens=tuple(to_token_view(one, uses.get(one.id)) for one in sorted(row.tokens, key=lambda one: one.id))
    )


async def get_token_access(ctx: Context, query: GetTokenAccess) -> TokenAccess:
    row: UserRow | None = await ctx.read_model("user").find_one({"tokens.token_hash": query.token_hash})
    token = (
        next((one for one in row.tokens if constant_time_equals(one.token_hash, query.token_hash)), None)
        if row
        else None
    )
    if row is None or token is None:
        raise RequestRejected("TOKEN_INVALID", "There is no such token, or no longer.")
    last_day = date.fromisoformat(token.expires_at) if token.expires_at else None
    if last_day is None or ctx.metadata.at.date() <= last_day:
        await record_use(ctx, token.id)
    return TokenAccess(access=to_access(row), scopes=token.scopes, expires_at=last_day)


async def record_use(ctx: Context, token_id: int) -> None:
    """Once a minute at most; replicas that come to it at the same moment write the same."""
    now = ctx.metadata.at
    known = await ctx.collection(USES_COLLECTION).find_one({"_id": token_id})
    if known is None or known["at"] < now - USE_RECORD_INTERVAL:
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
