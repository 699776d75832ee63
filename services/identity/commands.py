"""Command preparation for users: validation that needs I/O, ids and password hashing."""

from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import ChangePassword, RegisterUser, SetUserProjects, UserView
from contracts.projects import SetDeveloperProjects
from libs.security.passwords import find_policy_violation, hash_password_async
from libs.service.declaration import Context
from services.identity.domain.internal_commands import AddUser, SetPasswordHash
from services.identity.domain.validation import validate_email, validate_roles, validate_username
from services.identity.queries import require_user, to_user_views


async def prepare_registration(ctx: Context, command: RegisterUser) -> AddUser:
    """Allocate the ids and hash the password. Hashing is slow, so other invalid fields are rejected first."""
    username, email, roles = (
        validate_username(command.username),
        validate_email(command.email),
        validate_roles(command.roles),
    )
    user_id = await ctx.next_id("user")
    return AddUser(
        user_id=user_id,
        user_uuid=str(uuid4()),
        username=username,
        sealed_password_hash=await encrypt_password_hash(ctx, user_id, command.password, username),
        email=email,
        roles=roles,
        github_username=command.github_username,
        gitlab_username=command.gitlab_username,
    )


async def prepare_password_change(ctx: Context, command: ChangePassword) -> SetPasswordHash:
    """Hash the password. Raises RequestRejected: unknown user, missing or weak password, or different confirmation."""
    row = await require_user(ctx, command.user_id)
    if command.password_confirm not in (None, command.password):
        raise RequestRejected("DEVELOPER_PASSWORDS_DIFFER")
    sealed = await encrypt_password_hash(ctx, row.id, command.password, row.username)
    return SetPasswordHash(user_id=row.id, sealed_password_hash=sealed)


async def encrypt_password_hash(ctx: Context, user_id: int, password: str | None, username: str) -> str:
    """Return the encrypted hash of the password. Raises RequestRejected for a missing or weak one."""
    if not password:
        raise RequestRejected("DEVELOPER_PASSWORD_REQUIRED")
    if reason := find_policy_violation(password, username):
        raise RequestRejected("DEVELOPER_PASSWORD_WEAK", reason)
    return await ctx.vault.encrypt(f"user-{user_id}", await hash_password_async(password))


async def set_user_projects(ctx: Context, command: SetUserProjects) -> UserView:
    """Forward the memberships to the projects service, which records them."""
    row = await require_user(ctx, command.user_id)
    await ctx.send(SetDeveloperProjects(developer_id=row.id, projects_id=command.projects_id))
    return (await to_user_views(ctx, [row]))[0]
