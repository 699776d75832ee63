"""Registration tokens: one per scope. They are stored encrypted, because users can read them again."""

from uuid import uuid4

from contracts.runners import (
    RegistrationInfo,
    RegistrationRow,
    ResetRegistrationToken,
    RevealRegistrationToken,
)
from libs.eventstore.repository import CommandResult
from libs.security.tokens import hash_token
from libs.service.declaration import Context
from services.runners.domain.internal_commands import IssueRegistrationToken, ReplaceRegistrationToken
from services.runners.domain.registration import registration_stream


async def prepare_first_token(ctx: Context, command: RevealRegistrationToken) -> IssueRegistrationToken:
    """Return the token to issue if the scope has none: a new one, or for the scope `service` the configured one."""
    configured = ctx.settings.registration_token if command.scope == "service" else ""
    return IssueRegistrationToken(command.scope, *await _seal(ctx, command.scope, configured or generate_token()))


async def prepare_reset(ctx: Context, command: ResetRegistrationToken) -> ReplaceRegistrationToken:
    return ReplaceRegistrationToken(command.scope, *await _seal(ctx, command.scope, generate_token()))


def generate_token() -> str:
    return str(uuid4())  # the format that administrator clients expect


async def _seal(ctx: Context, scope: str, token: str) -> tuple[str, str]:
    return hash_token(token), await ctx.vault.encrypt(registration_stream(scope), token)


async def show_registration_token(
    ctx: Context, _command: RevealRegistrationToken, result: CommandResult[RegistrationRow]
) -> RegistrationInfo:
    """Return the token of the scope in plaintext."""
    token = await ctx.vault.decrypt(result.stream, result.row.token_sealed)
    return RegistrationInfo(scope=result.row.scope, registration_token=token)


async def issue_service_token(ctx: Context) -> None:
    """Create the token of the scope `service` unless it exists."""
    await ctx.send(RevealRegistrationToken(scope="service"))
