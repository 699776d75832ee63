"""The identity service: users, companies and their access, logging in, the keys that verify tokens."""

from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import (
    Access,
    AccessList,
    AddSshKey,
    AnchorAdministrator,
    ChangePassword,
    ChangeRoles,
    CreateApiToken,
    CreateCompany,
    DeleteCompany,
    DeleteUser,
    GetAccess,
    GetCompany,
    GetOwner,
    GetSshKey,
    GetTokenAccess,
    GetUser,
    GetVerificationKeys,
    ListAccess,
    ListApiTokens,
    ListCompanies,
    ListSshKeys,
    ListUsers,
    ListUsersPage,
    ListUserSummaries,
    LogIn,
    Owner,
    RecordCompany,
    RegisterUser,
    RemoveSshKey,
    RotateSigningKeys,
    SetCompanyMembers,
    SetUserEnabled,
    SetUserProjects,
    Users,
    UserView,
)
from contracts.messages import Page
from contracts.projects import GetProjectCount, ListMemberships, SetDeveloperProjects
from libs.projections.paging import fetch_page
from libs.security.passwords import find_policy_violation, hash_password_async
from libs.service.declaration import Context, Service
from services.identity import companies, ssh_keys
from services.identity.authentication import api_tokens, signing_keys
from services.identity.authentication.login import log_in
from services.identity.authentication.login_throttling import FAILURES_COLLECTION
from services.identity.bootstrap_admin import ensure_first_administrator
from services.identity.domain.user import make_user_registered
from services.identity.memberships import to_user_views
from services.identity.projections import (
    USER_COLUMNS,
    UserRow,
    membership_projection,
    to_access,
    to_summary,
    user_category,
)
from services.identity.queries import find_users, require_user, require_user_by_name
from services.identity.workers import remove_from_companies_worker, shred_user_key_worker

ENABLED_ADMINISTRATORS = {"enabled": True, "roles": "ROLE_ADMIN"}


# what commands need before they are decided


async def prepare_registration(ctx: Context, command: RegisterUser) -> RegisterUser:
    username = make_user_registered(command).username  # whatever else is wrong is said before the password is hashed
    user_id = await ctx.next_id("user")
    return command.replace(
        user_id=user_id,
        user_uuid=str(uuid4()),
        password=None,
        sealed_password_hash=await encrypt_password_hash(ctx, user_id, command.password, username),
    )


async def prepare_password_change(ctx: Context, command: ChangePassword) -> ChangePassword:
    row = await require_user(ctx, command.user_id)
    if command.password_confirm not in (None, command.password):
        raise RequestRejected("DEVELOPER_PASSWORDS_DIFFER")
    sealed = await encrypt_password_hash(ctx, row.id, command.password, row.username)
    return command.replace(password=None, password_confirm=None, sealed_password_hash=sealed)


async def encrypt_password_hash(ctx: Context, user_id: int, password: str | None, username: str) -> str:
    if not password:
        raise RequestRejected("DEVELOPER_PASSWORD_REQUIRED")
    if reason := find_policy_violation(password, username):
        raise RequestRejected("DEVELOPER_PASSWORD_WEAK", reason)
    return await ctx.vault.encrypt(f"user-{user_id}", await hash_password_async(password))


AdminRemoval = ChangeRoles | SetUserEnabled | DeleteUser


async def prepare_admin_removal(ctx: Context, command: AdminRemoval) -> AdminRemoval:
    """Find an administrator who stays. Only the holder of the highest anchor needs somebody to hand it to."""
    row = await ctx.read_model("user").get(f"user-{command.user_id}")
    if row is None or not (row.enabled and "ROLE_ADMIN" in row.roles) or remains_administrator(command):
        return command.replace(anchor=0)
    holder = await find_anchor_holder(ctx)
    if holder is not None and holder.id != row.id:
        return command.replace(anchor=holder.anchor)
    successor = await ctx.read_model("user").find_one({**ENABLED_ADMINISTRATORS, "id": {"$ne": row.id}})
    if successor is None:
        raise RequestRejected("DEVELOPER_LAST_ADMINISTRATOR")
    anchored = await ctx.send(AnchorAdministrator(user_id=successor.id))
    return command.replace(anchor=anchored.row["anchor"])


def remains_administrator(command: AdminRemoval) -> bool:
    match command:
        case ChangeRoles(roles=roles):
            return roles is not None and "ROLE_ADMIN" in roles
        case SetUserEnabled(enabled=enabled):
            return enabled is not False
        case DeleteUser():
            return False


async def prepare_anchor(ctx: Context, command: AnchorAdministrator) -> AnchorAdministrator:
    holder = await find_anchor_holder(ctx)
    return command.replace(anchor=holder.anchor + 1 if holder else 1)


async def find_anchor_holder(ctx: Context) -> UserRow | None:
    found: list[UserRow] = await ctx.read_model("user").find({"anchor": {"$gt": 0}}, [("anchor", -1)], limit=1)
    return found[0] if found else None


# answers


async def get_access(ctx: Context, query: GetAccess) -> Access:
    return to_access(await require_user(ctx, query.user_id))


async def find_access(ctx: Context, query: ListAccess) -> AccessList:
    if not query.name:
        return AccessList(users=())
    rows = await ctx.read_model("user").find({f"{query.provider}_key": query.name.lower()}, [("id", 1)])
    return AccessList(users=tuple(to_access(row) for row in rows))


async def get_user(ctx: Context, query: GetUser) -> UserView:
    row = await (
        require_user_by_name(ctx, query.username) if query.user_id is None else require_user(ctx, query.user_id)
    )
    return (await to_user_views(ctx, [row]))[0]


async def set_projects_of_user(ctx: Context, command: SetUserProjects) -> UserView:
    row = await require_user(ctx, command.user_id)
    await ctx.send(SetDeveloperProjects(developer_id=row.id, projects_id=command.projects_id))
    return (await to_user_views(ctx, [row]))[0]


async def get_owner(ctx: Context, query: GetOwner) -> Owner:
    if company := await companies.find_company_by_alias(ctx, query.alias):
        return Owner(alias=company.alias, kind="company", id=company.id)
    row = await require_user_by_name(ctx, query.alias)
    return Owner(alias=row.username, kind="user", id=row.id)


async def list_users(ctx: Context, query: ListUsers) -> Users:
    wanted = {} if query.user_ids is None else {"_id": {"$in": [f"user-{id_}" for id_ in query.user_ids]}}
    rows = await ctx.read_model("user").find(wanted, [("id", 1)])
    if missing := set(query.user_ids or ()) - {row.id for row in rows}:
        raise RequestRejected("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return Users(users=tuple(await to_user_views(ctx, rows)))


async def page_users(ctx: Context, query: ListUsersPage) -> Page:
    return await fetch_page(ctx.read_model("user"), query, USER_COLUMNS, to_summary)


async def on_start(ctx: Context) -> None:
    await signing_keys.ensure_signing_key(ctx)
    await ensure_first_administrator(ctx)


service = Service(
    "identity",
    categories=(user_category, companies.company_category),
    enrichers={
        RegisterUser: prepare_registration,
        ChangePassword: prepare_password_change,
        ChangeRoles: prepare_admin_removal,
        SetUserEnabled: prepare_admin_removal,
        DeleteUser: prepare_admin_removal,
        AnchorAdministrator: prepare_anchor,
        RecordCompany: companies.prepare_company,
        SetCompanyMembers: companies.require_members,
        DeleteCompany: companies.prepare_company_deletion,
        AddSshKey: ssh_keys.prepare_key_addition,
        RemoveSshKey: ssh_keys.prepare_key_removal,
    },
    handlers={
        LogIn: log_in,
        GetVerificationKeys: signing_keys.list_public_keys,
        RotateSigningKeys: signing_keys.rotate_signing_keys,
        GetAccess: get_access,
        ListAccess: find_access,
        GetUser: get_user,
        SetUserProjects: set_projects_of_user,
        GetOwner: get_owner,
        ListUsers: list_users,
        ListUsersPage: page_users,
        CreateCompany: companies.create_company,
        GetCompany: companies.get_company,
        ListCompanies: companies.list_companies,
        CreateApiToken: api_tokens.create_token,
        ListApiTokens: api_tokens.list_tokens,
        GetTokenAccess: api_tokens.get_token_access,
        ListUserSummaries: find_users,
        GetSshKey: ssh_keys.get_ssh_key,
        ListSshKeys: ssh_keys.page_ssh_keys,
    },
    outgoing=(SetDeveloperProjects, GetProjectCount, ListMemberships),
    projections=(membership_projection,),
    workers=(shred_user_key_worker, remove_from_companies_worker),
    on_start=on_start,
    ttl_collections={FAILURES_COLLECTION: "gone_at", api_tokens.USES_COLLECTION: "gone_at"},
)
