"""The identity service: users, companies and their access, logging in, the keys that verify tokens."""

from uuid import uuid4

from contracts.errors import Refused
from contracts.identity import (
    Access,
    Accesses,
    AddSshKey,
    AnchorAdministrator,
    ChangePassword,
    ChangeRoles,
    ChooseMembers,
    ChooseProjectsOfUser,
    CreateApiToken,
    CreateCompany,
    DeleteCompany,
    DeleteUser,
    FindAccess,
    FindUsers,
    GetAccess,
    GetCompany,
    GetOwner,
    GetSshKey,
    GetTokenAccess,
    GetUser,
    ListApiTokens,
    ListCompanies,
    ListUsers,
    LogIn,
    Owner,
    PageSshKeys,
    PageUsers,
    PublicKeys,
    RecordCompany,
    RegisterUser,
    RemoveSshKey,
    RotateSigningKeys,
    SetUserEnabled,
    Users,
    UserView,
)
from contracts.messages import Page
from contracts.projects import ChooseDeveloperProjects, CountProjects, ListMemberships
from libs.paging import page
from libs.security.passwords import check_policy, hash_password_async
from libs.service import Context, Service
from services.identity import companies, keys, signing, tokens
from services.identity.domain import registered
from services.identity.first_administrator import ensure_first_administrator
from services.identity.guessing import FAILURES
from services.identity.logins import log_in
from services.identity.memberships import with_projects
from services.identity.policies import eraser, leaver
from services.identity.users import by_name, existing, find_users
from services.identity.views import USER_COLUMNS, UserRow, access, listed, memberships, user_category

ADMINISTRATORS = {"enabled": True, "roles": "ROLE_ADMIN"}


# what commands need before they are decided


async def before_registering(ctx: Context, command: RegisterUser) -> RegisterUser:
    username = registered(command).username  # whatever else is wrong is said before the password is hashed
    user_id = await ctx.next_id("user")
    return command.but(
        user_id=user_id,
        user_uuid=str(uuid4()),
        password=None,
        sealed_password_hash=await sealed_hash(ctx, user_id, command.password, username),
    )


async def before_changing_password(ctx: Context, command: ChangePassword) -> ChangePassword:
    row = await existing(ctx, command.user_id)
    if command.password_confirm not in (None, command.password):
        raise Refused("DEVELOPER_PASSWORDS_DIFFER")
    sealed = await sealed_hash(ctx, row.id, command.password, row.username)
    return command.but(password=None, password_confirm=None, sealed_password_hash=sealed)


async def sealed_hash(ctx: Context, user_id: int, password: str | None, username: str) -> str:
    if not password:
        raise Refused("DEVELOPER_PASSWORD_REQUIRED")
    if reason := check_policy(password, username):
        raise Refused("DEVELOPER_PASSWORD_WEAK", reason)
    return await ctx.vault.seal(f"user-{user_id}", await hash_password_async(password))


Removal = ChangeRoles | SetUserEnabled | DeleteUser


async def with_anchor(ctx: Context, command: Removal) -> Removal:
    """Find an administrator who stays. Only the holder of the highest anchor needs somebody to hand it to."""
    row = await ctx.rows("user").get(f"user-{command.user_id}")
    if row is None or not (row.enabled and "ROLE_ADMIN" in row.roles) or keeps_administrator(command):
        return command.but(anchor=0)
    holder = await highest_anchor(ctx)
    if holder is not None and holder.id != row.id:
        return command.but(anchor=holder.anchor)
    successor = await ctx.rows("user").one({**ADMINISTRATORS, "id": {"$ne": row.id}})
    if successor is None:
        raise Refused("DEVELOPER_LAST_ADMINISTRATOR")
    anchored = await ctx.tell(AnchorAdministrator(user_id=successor.id))
    return command.but(anchor=anchored.row["anchor"])


def keeps_administrator(command: Removal) -> bool:
    match command:
        case ChangeRoles(roles=roles):
            return roles is not None and "ROLE_ADMIN" in roles
        case SetUserEnabled(enabled=enabled):
            return enabled is not False
        case DeleteUser():
            return False


async def before_anchoring(ctx: Context, command: AnchorAdministrator) -> AnchorAdministrator:
    holder = await highest_anchor(ctx)
    return command.but(anchor=holder.anchor + 1 if holder else 1)


async def highest_anchor(ctx: Context) -> UserRow | None:
    found: list[UserRow] = await ctx.rows("user").find({"anchor": {"$gt": 0}}, [("anchor", -1)], limit=1)
    return found[0] if found else None


# answers


async def get_access(ctx: Context, query: GetAccess) -> Access:
    return access(await existing(ctx, query.user_id))


async def find_access(ctx: Context, query: FindAccess) -> Accesses:
    if not query.name:
        return Accesses(users=())
    rows = await ctx.rows("user").find({f"{query.provider}_key": query.name.lower()}, [("id", 1)])
    return Accesses(users=tuple(access(row) for row in rows))


async def get_user(ctx: Context, query: GetUser) -> UserView:
    row = await (by_name(ctx, query.username) if query.user_id is None else existing(ctx, query.user_id))
    return (await with_projects(ctx, [row]))[0]


async def choose_projects(ctx: Context, command: ChooseProjectsOfUser) -> UserView:
    row = await existing(ctx, command.user_id)
    await ctx.tell(ChooseDeveloperProjects(developer_id=row.id, projects_id=command.projects_id))
    return (await with_projects(ctx, [row]))[0]


async def get_owner(ctx: Context, query: GetOwner) -> Owner:
    if company := await companies.by_alias(ctx, query.alias):
        return Owner(alias=company.alias, kind="company", id=company.id)
    row = await by_name(ctx, query.alias)
    return Owner(alias=row.username, kind="user", id=row.id)


async def list_users(ctx: Context, query: ListUsers) -> Users:
    wanted = {} if query.user_ids is None else {"_id": {"$in": [f"user-{id_}" for id_ in query.user_ids]}}
    rows = await ctx.rows("user").find(wanted, [("id", 1)])
    if missing := set(query.user_ids or ()) - {row.id for row in rows}:
        raise Refused("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return Users(users=tuple(await with_projects(ctx, rows)))


async def page_users(ctx: Context, query: PageUsers) -> Page:
    return await page(ctx.rows("user"), query, USER_COLUMNS, listed)


async def started(ctx: Context) -> None:
    await signing.ensure_signing_key(ctx)
    await ensure_first_administrator(ctx)


service = Service(
    "identity",
    categories=(user_category, companies.company_category),
    prepare={
        RegisterUser: before_registering,
        ChangePassword: before_changing_password,
        ChangeRoles: with_anchor,
        SetUserEnabled: with_anchor,
        DeleteUser: with_anchor,
        AnchorAdministrator: before_anchoring,
        RecordCompany: companies.before_recording,
        ChooseMembers: companies.check_members,
        DeleteCompany: companies.before_deleting,
        AddSshKey: keys.before_adding,
        RemoveSshKey: keys.before_removing,
    },
    answers={
        LogIn: log_in,
        PublicKeys: signing.public_keys,
        RotateSigningKeys: signing.rotate,
        GetAccess: get_access,
        FindAccess: find_access,
        GetUser: get_user,
        ChooseProjectsOfUser: choose_projects,
        GetOwner: get_owner,
        ListUsers: list_users,
        PageUsers: page_users,
        CreateCompany: companies.create,
        GetCompany: companies.get_company,
        ListCompanies: companies.list_companies,
        CreateApiToken: tokens.create,
        ListApiTokens: tokens.list_all,
        GetTokenAccess: tokens.get_token_access,
        FindUsers: find_users,
        GetSshKey: keys.get_key,
        PageSshKeys: keys.page_keys,
    },
    calls=(ChooseDeveloperProjects, CountProjects, ListMemberships),
    views=(memberships,),
    workers=(eraser, leaver),
    started=started,
    passing={FAILURES: "gone_at", tokens.USES: "gone_at"},
)
