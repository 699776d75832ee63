"""The tokens that register runners: one for each scope, shown again when asked for."""

from uuid import uuid4

from contracts.messages import Command
from contracts.runners import (
    GetRegistrationInfo,
    IssueRegistrationToken,
    RegistrationInfo,
    RegistrationRow,
    ResetRegistrationToken,
)
from libs.security.tokens import token_hash
from libs.service import Context
from services.runners.domain import registration_stream


async def with_new_token(ctx: Context, command: IssueRegistrationToken | ResetRegistrationToken) -> Command:
    first = ctx.settings.registration_token if isinstance(command, IssueRegistrationToken) else ""
    token = (first if command.scope == "service" else "") or str(uuid4())  # the form that administrators' clients know
    sealed = await ctx.vault.seal(registration_stream(command.scope), token)
    return command.but(token_hash=token_hash(token), token_sealed=sealed)


async def registration_info(ctx: Context, query: GetRegistrationInfo) -> RegistrationInfo:
    stream = registration_stream(query.scope)
    row: RegistrationRow | None = await ctx.rows("registration").get(stream)
    if row is None:
        row = RegistrationRow.model_validate((await ctx.tell(IssueRegistrationToken(scope=query.scope))).row)
    return RegistrationInfo(scope=query.scope, registration_token=await ctx.vault.open(stream, row.token_sealed))
