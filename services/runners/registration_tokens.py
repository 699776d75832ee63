"""Registration tokens: one per scope, stored encrypted because administrators can read them again."""

from uuid import uuid4

from contracts.messages import Command
from contracts.runners import (
    IssueRegistrationToken,
    RegistrationInfo,
    RegistrationRow,
    ResetRegistrationToken,
    RevealRegistrationToken,
)
from libs.security.tokens import hash_token
from libs.service.declaration import Context
from services.runners.domain.registration import registration_stream


async def prepare_registration_token(ctx: Context, command: IssueRegistrationToken | ResetRegistrationToken) -> Command:
    """Set a new token. The settings can give the first token of the scope `service`."""
    is_first_of_service = isinstance(command, IssueRegistrationToken) and command.scope == "service"
    configured = ctx.settings.registration_token if is_first_of_service else ""
    token = configured or str(uuid4())  # the format that administrator clients expect
    sealed = await ctx.vault.encrypt(registration_stream(command.scope), token)
    return command.replace(token_hash=hash_token(token), token_sealed=sealed)


async def reveal_registration_token(ctx: Context, command: RevealRegistrationToken) -> RegistrationInfo:
    """Return the token of a scope; create it if the scope has none."""
    stream = registration_stream(command.scope)
    row = await ctx.read_model(RegistrationRow).get(stream)
    if row is None:
        reply = await ctx.send(IssueRegistrationToken(scope=command.scope))
        row = RegistrationRow.model_validate(reply.row)
    return RegistrationInfo(scope=command.scope, registration_token=await ctx.vault.decrypt(stream, row.token_sealed))


async def issue_service_token(ctx: Context) -> None:
    """Create the token of the scope `service` unless it exists."""
    await ctx.send(IssueRegistrationToken(scope="service"))
