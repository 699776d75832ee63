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
from libs.security.tokens import hash_token
from libs.service.declaration import Context
from services.runners.domain.runner import registration_stream


async def prepare_registration_token(ctx: Context, command: IssueRegistrationToken | ResetRegistrationToken) -> Command:
    first = ctx.settings.registration_token if isinstance(command, IssueRegistrationToken) else ""
    token = (first if command.scope == "service" else "") or str(uuid4())  # the form that administrators' clients know
    sealed = await ctx.vault.encrypt(registration_stream(command.scope), token)
    return command.replace(token_hash=hash_token(token), token_sealed=sealed)


async def get_registration_info(ctx: Context, query: GetRegistrationInfo) -> RegistrationInfo:
    stream = registration_stream(query.scope)
    row: RegistrationRow | None = await ctx.read_model("registration").get(stream)
    if row is None:
        row = RegistrationRow.model_validate((await ctx.send(IssueRegistrationToken(scope=query.scope))).row)
    return RegistrationInfo(scope=query.scope, registration_token=await ctx.vault.decrypt(stream, row.token_sealed))
