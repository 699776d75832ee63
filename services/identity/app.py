"""The declaration of the identity service."""

from contracts.identity import (
    AddSshKey,
    AuthenticateToken,
    ChangePassword,
    CreateApiToken,
    CreateCompany,
    DeleteCompany,
    FinishOidcSignIn,
    GetAccess,
    GetCompany,
    GetIdentityLink,
    GetOwner,
    GetSshKey,
    GetUser,
    GetUsernames,
    GetVerificationKeys,
    LinkIdentity,
    ListAccess,
    ListApiTokens,
    ListCompanies,
    ListSshKeys,
    ListUsers,
    ListUsersPage,
    ListUserSummaries,
    LogIn,
    RegisterUser,
    RenewSession,
    RotateSigningKeys,
    SetCompanyMembers,
    SetUserProjects,
    StartOidcSignIn,
)
from contracts.projects import GetProjectCount, ListMemberships, SetDeveloperProjects
from libs.projections.paging import formerly
from libs.service.declaration import CommandFlow, Context, Handler, PeriodicTask, Service
from services.identity import companies, ssh_keys
from services.identity.authentication import api_tokens, signing_keys
from services.identity.authentication.login import log_in, renew_session
from services.identity.authentication.login_throttling import FAILURES_COLLECTION
from services.identity.bootstrap_admin import ensure_first_administrator
from services.identity.commands import prepare_password_change, prepare_registration, set_user_projects
from services.identity.erasures import repeat_erasures
from services.identity.oidc import oidc_sign_in
from services.identity.projections import company_category, membership_projection, user_category
from services.identity.queries import (
    get_access,
    get_owner,
    get_user,
    get_usernames,
    list_access,
    list_user_summaries,
    list_users,
    list_users_page,
)
from services.identity.workers import WORKERS


async def on_start(ctx: Context) -> None:
    await signing_keys.ensure_signing_key(ctx)
    await ensure_first_administrator(ctx)
    await repeat_erasures(ctx)


service = Service(
    "identity",
    categories=(user_category, company_category),
    command_flows=(
        CommandFlow(RegisterUser, prepare_registration),
        CommandFlow(ChangePassword, prepare_password_change),
        CommandFlow(
            CreateCompany, companies.prepare_company, retry=companies.has_lost_alias, recorded_as="RecordCompany"
        ),
        CommandFlow(SetCompanyMembers, companies.prepare_member_selection),
        CommandFlow(DeleteCompany, companies.prepare_company_deletion),
        CommandFlow(AddSshKey, ssh_keys.prepare_key_addition),
        CommandFlow(LinkIdentity, oidc_sign_in.prepare_link),
        CommandFlow(
            CreateApiToken, api_tokens.prepare_api_token, api_tokens.show_api_token, recorded_as="RecordApiToken"
        ),
    ),
    handlers=(
        Handler(LogIn, log_in),
        Handler(RenewSession, renew_session),
        Handler(StartOidcSignIn, oidc_sign_in.start_sign_in),
        Handler(FinishOidcSignIn, oidc_sign_in.finish_sign_in),
        Handler(GetIdentityLink, oidc_sign_in.get_identity_link),
        Handler(GetVerificationKeys, signing_keys.get_verification_keys),
        Handler(RotateSigningKeys, signing_keys.rotate_signing_keys),
        Handler(GetAccess, get_access),
        Handler(ListAccess, list_access),
        Handler(GetUser, get_user),
        Handler(GetUsernames, get_usernames),
        Handler(SetUserProjects, set_user_projects),
        Handler(GetOwner, get_owner),
        Handler(ListUsers, formerly("users", list_users)),
        Handler(ListUsersPage, list_users_page),
        Handler(GetCompany, companies.get_company),
        Handler(ListCompanies, formerly("companies", companies.list_companies)),
        Handler(ListApiTokens, api_tokens.list_api_tokens),
        Handler(AuthenticateToken, api_tokens.authenticate_token),
        Handler(ListUserSummaries, list_user_summaries),
        Handler(GetSshKey, ssh_keys.get_ssh_key),
        Handler(ListSshKeys, ssh_keys.list_ssh_keys),
    ),
    outgoing=(SetDeveloperProjects, GetProjectCount, ListMemberships),
    projections=(membership_projection,),
    workers=WORKERS,
    periodic_tasks=(PeriodicTask("erasures", 60.0, repeat_erasures),),
    on_start=on_start,
    ttl_collections={FAILURES_COLLECTION: "gone_at", api_tokens.USES_COLLECTION: "gone_at"},
)
