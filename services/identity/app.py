from contracts.identity import (
    AddSshKey,
    AnchorAdministrator,
    AuthenticateToken,
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
    RecordCompany,
    RegisterUser,
    RemoveSshKey,
    RotateSigningKeys,
    SetCompanyMembers,
    SetUserEnabled,
    SetUserProjects,
)
from contracts.projects import GetProjectCount, ListMemberships, SetDeveloperProjects
from libs.service.declaration import Context, Enricher, Handler, Service
from services.identity import companies, ssh_keys
from services.identity.authentication import api_tokens, signing_keys
from services.identity.authentication.login import log_in
from services.identity.authentication.login_throttling import FAILURES_COLLECTION
from services.identity.bootstrap_admin import ensure_first_administrator
from services.identity.commands import prepare_password_change, prepare_registration, set_user_projects
from services.identity.last_admin_guard import prepare_admin_removal, prepare_anchor
from services.identity.projections import company_category, membership_projection, user_category
from services.identity.queries import (
    get_access,
    get_owner,
    get_user,
    list_access,
    list_user_summaries,
    list_users,
    list_users_page,
)
from services.identity.workers import WORKERS


async def on_start(ctx: Context) -> None:
    await signing_keys.ensure_signing_key(ctx)
    await ensure_first_administrator(ctx)


service = Service(
    "identity",
    categories=(user_category, company_category),
    enrichers=(
        Enricher(RegisterUser, prepare_registration),
        Enricher(ChangePassword, prepare_password_change),
        Enricher(ChangeRoles, prepare_admin_removal),
        Enricher(SetUserEnabled, prepare_admin_removal),
        Enricher(DeleteUser, prepare_admin_removal),
        Enricher(AnchorAdministrator, prepare_anchor),
        Enricher(RecordCompany, companies.prepare_company),
        Enricher(SetCompanyMembers, companies.require_members),
        Enricher(DeleteCompany, companies.prepare_company_deletion),
        Enricher(AddSshKey, ssh_keys.prepare_key_addition),
        Enricher(RemoveSshKey, ssh_keys.prepare_key_removal),
    ),
    handlers=(
        Handler(LogIn, log_in),
        Handler(GetVerificationKeys, signing_keys.get_verification_keys),
        Handler(RotateSigningKeys, signing_keys.rotate_signing_keys),
        Handler(GetAccess, get_access),
        Handler(ListAccess, list_access),
        Handler(GetUser, get_user),
        Handler(SetUserProjects, set_user_projects),
        Handler(GetOwner, get_owner),
        Handler(ListUsers, list_users),
        Handler(ListUsersPage, list_users_page),
        Handler(CreateCompany, companies.create_company),
        Handler(GetCompany, companies.get_company),
        Handler(ListCompanies, companies.list_companies),
        Handler(CreateApiToken, api_tokens.create_api_token),
        Handler(ListApiTokens, api_tokens.list_api_tokens),
        Handler(AuthenticateToken, api_tokens.authenticate_token),
        Handler(ListUserSummaries, list_user_summaries),
        Handler(GetSshKey, ssh_keys.get_ssh_key),
        Handler(ListSshKeys, ssh_keys.list_ssh_keys),
    ),
    outgoing=(SetDeveloperProjects, GetProjectCount, ListMemberships),
    projections=(membership_projection,),
    workers=WORKERS,
    on_start=on_start,
    ttl_collections={FAILURES_COLLECTION: "gone_at", api_tokens.USES_COLLECTION: "gone_at"},
)
