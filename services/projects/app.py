"""The declaration of the projects service."""

from contracts.builds import GetBuild, QueueBuild
from contracts.identity import GetCompany, GetOwner, GetUser, ListAccess, ListUsers
from contracts.projects import (
    ChangeCredentialKey,
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeSecretValue,
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    DeleteCredential,
    DeleteExecutor,
    DeleteProject,
    DeliveryAccepted,
    DeveloperProjectsSet,
    GetCredential,
    GetDelivery,
    GetDeliveryKey,
    GetExecutor,
    GetForge,
    GetJobSecrets,
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetProjectCount,
    GetSecret,
    GetWebhookPayload,
    ListBadgeProjects,
    ListCredentials,
    ListDeliveries,
    ListExecutors,
    ListHiddenProjects,
    ListMemberships,
    ListProjectMembers,
    ListProjects,
    ListProjectsPage,
    ListSecrets,
    ListSecretsPage,
    MoveProject,
    ProjectDeleted,
    ProjectSecretsSet,
    ReceiveWebhook,
    RejectWebhook,
    RenewSignatureKey,
    RevealCredential,
    RevealSecret,
    SetDeveloperProjects,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectMember,
    SetProjectSecrets,
    SetSecretProjects,
)
from libs.permissions.projections import company_members_projection
from libs.projections.paging import formerly
from libs.service.declaration import CommandFlow, Expiry, Handler, PeriodicTask, Policy, Service
from services.projects import commands, credentials, executors, queries, secrets
from services.projects.build_activity import finished_builds_projection, project_steps_projection
from services.projects.permissions.access import list_hidden_projects, list_project_members
from services.projects.permissions.authorization import authorize
from services.projects.policies import on_project_event
from services.projects.project_page import list_projects_page
from services.projects.projections import (
    credential_category,
    executor_category,
    membership_category,
    project_category,
    secret_category,
)
from services.projects.webhooks import deliveries, delivery_queries, payloads, rejections
from services.projects.webhooks.delivery_projection import delivery_category
from services.projects.workers import WORKERS, record_owner_ids

service = Service(
    "projects",
    categories=(
        project_category,
        secret_category,
        credential_category,
        executor_category,
        membership_category,
        delivery_category,
    ),
    command_flows=(
        CommandFlow(
            CreateProject, commands.prepare_project, retry=commands.has_lost_alias, recorded_as="RecordProject"
        ),
        CommandFlow(ChangeRepository, commands.prepare_repository_change),
        CommandFlow(SetProjectDevelopers, commands.prepare_reference_change),
        CommandFlow(SetProjectMember, commands.prepare_member),
        CommandFlow(SetDeveloperProjects, commands.prepare_membership_selection),
        CommandFlow(SetProjectSecrets, commands.prepare_secret_selection),
        CommandFlow(SetProjectCredential, commands.prepare_reference_change),
        CommandFlow(SetProjectExecutor, commands.prepare_reference_change),
        CommandFlow(MoveProject, commands.prepare_move),
        CommandFlow(RenewSignatureKey, commands.prepare_signature_key_renewal),
        CommandFlow(DeleteProject, commands.prepare_project_deletion),
        CommandFlow(CreateSecret, secrets.prepare_secret),
        CommandFlow(ChangeSecretValue, secrets.prepare_value_change),
        CommandFlow(SetSecretProjects, secrets.prepare_project_selection),
        CommandFlow(RevealSecret, answer=secrets.show_revealed_secret),
        CommandFlow(CreateCredential, credentials.prepare_credential),
        CommandFlow(ChangeCredentialKey, credentials.prepare_key_change),
        CommandFlow(RevealCredential, answer=credentials.show_revealed_credential),
        CommandFlow(DeleteCredential, credentials.prepare_credential_deletion),
        CommandFlow(CreateExecutor, executors.prepare_executor),
        CommandFlow(ChangeExecutorVariables, executors.prepare_variables_change),
        CommandFlow(DeleteExecutor, executors.prepare_executor_deletion),
    ),
    handlers=(
        Handler(GetProject, queries.get_project),
        Handler(GetProjectByAlias, queries.get_project_by_alias),
        Handler(ListMemberships, queries.list_memberships),
        Handler(ListProjects, formerly("projects", queries.list_projects)),
        Handler(ListProjectsPage, list_projects_page),
        Handler(ListBadgeProjects, queries.list_badge_projects),
        Handler(GetProjectCount, queries.get_project_count),
        Handler(ListProjectMembers, list_project_members),
        Handler(ListHiddenProjects, list_hidden_projects),
        Handler(GetLaunchSettings, queries.get_launch_settings),
        Handler(GetSecret, secrets.get_secret),
        Handler(ListSecrets, formerly("secrets", secrets.list_secrets)),
        Handler(ListSecretsPage, secrets.list_secrets_page),
        Handler(GetJobSecrets, secrets.get_job_secrets),
        Handler(GetForge, secrets.get_forge),
        Handler(GetCredential, credentials.get_credential),
        Handler(ListCredentials, formerly("credentials", credentials.list_credentials)),
        Handler(GetExecutor, executors.get_executor),
        Handler(ListExecutors, formerly("executors", executors.list_executors)),
        Handler(ReceiveWebhook, deliveries.receive_webhook),
        Handler(RejectWebhook, deliveries.reject_webhook),
        Handler(GetDeliveryKey, deliveries.get_delivery_key),
        Handler(GetDelivery, delivery_queries.get_delivery),
        Handler(ListDeliveries, delivery_queries.list_deliveries),
        Handler(GetWebhookPayload, payloads.get_webhook_payload),
    ),
    authorize=authorize,
    outgoing=(ListAccess, GetBuild, GetCompany, GetOwner, GetUser, ListUsers, QueueBuild),
    policies=(
        Policy(
            "projects",
            on_project_event,
            now=True,
            before_reply=(ProjectSecretsSet, DeveloperProjectsSet, ProjectDeleted, DeliveryAccepted),
        ),
    ),
    projections=(project_steps_projection, finished_builds_projection, company_members_projection),
    workers=WORKERS,
    periodic_tasks=(
        PeriodicTask("orphan_payloads", 3600.0, payloads.purge_orphan_payloads),
        PeriodicTask("owner_ids", 3600.0, record_owner_ids),
    ),
    expiries=(
        Expiry(
            delivery_category,
            "received_at",
            lambda settings: settings.retention.delivery_days,
            count=lambda settings: settings.retention.delivery_count,
            group_field="project_id",
        ),
    ),
    on_start=executors.ensure_default_executor,
    indexes={payloads.PAYLOADS_COLLECTION: (("project_id",), ("at",)), **rejections.INDEXES},
)
