"""Personal API tokens: made and shown once, listed without their values, looked up by their hashes."""

from datetime import date, datetime, timedelta
from uuid import uuid4

from contracts.errors import Refused
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
from libs.security.tokens import same, token_hash
from libs.service import Context
from services.identity.users import existing
from services.identity.views import TokenRow, UserRow, access

USES = "token_uses"  # one document per token that was used: when, and when that may be forgotten
USE_IS_NEWS = timedelta(minutes=1)
USE_IS_FORGOTTEN = timedelta(days=365)


async def create(ctx: Context, command: CreateApiToken) -> ApiTokenView:
    value = await ctx.new_token(TOKEN_PREFIX)
    recorded = await ctx.tell(
        RecordApiToken(
            **dict(command),
            token_id=await ctx.next_id("token"),
            token_uuid=str(uuid4()),
            token_hash=token_hash(value),
            today=ctx.cause.at.date(),
        )
    )
    return shown(UserRow.model_validate(recorded.row).tokens[-1], None, value)


async def list_all(ctx: Context, query: ListApiTokens) -> ApiTokens:
    row = await existing(ctx, query.user_id)
    wanted = {"_id": {"$in": [one.id for one in row.tokens]}}
    uses = {one["_id"]: one["at"] async for one in ctx.collection(USES).find(wanted)}
    return ApiTokens(tokens=tuple(shown(one, uses.get(one.id)) for one in sorted(row.tokens, key=lambda one: one.id)))


async def get_token_access(ctx: Context, query: GetTokenAccess) -> TokenAccess:
    row: UserRow | None = await ctx.rows("user").one({"tokens.token_hash": query.token_hash})
    token = next((one for one in row.tokens if same(one.token_hash, query.token_hash)), None) if row else None
    if row is None or token is None:
        raise Refused("TOKEN_INVALID", "There is no such token, or no longer.")
    last_day = date.fromisoformat(token.expires_at) if token.expires_at else None
    if last_day is None or ctx.cause.at.date() <= last_day:
        await note_use(ctx, token.id)
    return TokenAccess(access=access(row), scopes=token.scopes, expires_at=last_day)


async def note_use(ctx: Context, token_id: int) -> None:
    """Once a minute at most; replicas that come to it at the same moment write the same."""
    now = ctx.cause.at
    known = await ctx.collection(USES).find_one({"_id": token_id})
    if known is None or known["at"] < now - USE_IS_NEWS:
        use = {"at": now, "gone_at": now + USE_IS_FORGOTTEN}
        await ctx.collection(USES).update_one({"_id": token_id}, {"$max": use}, upsert=True)


def shown(token: TokenRow, last_used_at: datetime | None, value: str | None = None) -> ApiTokenView:
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
