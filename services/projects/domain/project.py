"""The project aggregate: settings, owner and members."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never, get_args

from contracts.messages import Payload
from contracts.projects import (
    ChangeBadges,
    ChangeBranch,
    ChangeConcurrency,
    ChangeForge,
    ChangeRetention,
    ChangeRetentionLimits,
    ChangeSpecFilePath,
    ChangeTriggers,
    ChangeVisibility,
    CreateProject,
    DescribeProject,
    ProjectBranchChanged,
    ProjectBranchesProtected,
    ProjectConcurrencyChanged,
    ProjectCreated,
    ProjectCredentialSet,
    ProjectDeleted,
    ProjectDescribed,
    ProjectDevelopersSet,
    ProjectEvent,
    ProjectExecutorSet,
    ProjectMoved,
    ProjectRenamed,
    ProjectRepositoryChanged,
    ProjectRetentionChanged,
    ProjectSecretsSet,
    ProjectSettingsChanged,
    ProjectSignatureKeyRenewed,
    ProjectSpecFilePathChanged,
    ProtectBranches,
    RemoveProjectMember,
    RenameProject,
    RetentionLimits,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectMember,
    Visibility,
)
from libs.eventstore.decider import Decider, Release, RequestRejected, Reservation, Reserve
from libs.normalization import blank_to_none, sort_unique
from services.projects.domain.forge import make_forge_change
from services.projects.domain.internal_commands import (
    AddDeveloper,
    AddProject,
    RemoveDeveloper,
    RemoveProject,
    SelectSecrets,
    SetProjectPath,
    SetRepository,
    SetSignatureKey,
)
from services.projects.domain.project_members import make_membership_events
from services.projects.domain.repository import strip_login, validate_branch
from services.projects.domain.validation import (
    changed_limits,
    changed_triggers,
    require_executor_id,
    require_line,
    validate_concurrency,
    validate_retention,
)

ProjectCommand = (
    AddProject
    | RenameProject
    | DescribeProject
    | SetRepository
    | ChangeBranch
    | ChangeSpecFilePath
    | ChangeRetention
    | ChangeRetentionLimits
    | ChangeConcurrency
    | ProtectBranches
    | ChangeVisibility
    | ChangeBadges
    | ChangeTriggers
    | ChangeForge
    | SetProjectMember
    | RemoveProjectMember
    | SetProjectDevelopers
    | AddDeveloper
    | RemoveDeveloper
    | SelectSecrets
    | SetProjectCredential
    | SetProjectExecutor
    | SetProjectPath
    | SetSignatureKey
    | RemoveProject
)


@dataclass(frozen=True, slots=True)
class Project:
    """State of a project. `settings` is the event that would create the project in its current state."""

    settings: ProjectCreated | None = None
    deleted: bool = False


def decide(project: Project, command: ProjectCommand) -> list[ProjectEvent]:
    match project.settings, command:
        case None, AddProject() if not project.deleted:
            return make_creation_events(command)
        case None, _:
            raise RequestRejected("PROJECT_NOT_FOUND")
        case _, AddProject():
            raise RequestRejected("CONFLICT", "This project already exists.")
        case _, RemoveProject(project_id=project_id, secrets_id=secrets_id):
            return [ProjectDeleted(project_id=project_id, secrets_id=secrets_id)]
        case _, SelectSecrets():
            return [ProjectSecretsSet(**vars(command))]
        case ProjectCreated() as settings, (
            SetProjectMember() | RemoveProjectMember() | SetProjectDevelopers() | AddDeveloper() | RemoveDeveloper()
        ):
            return make_membership_events(settings, command)
        case ProjectCreated() as settings, _:
            event = make_change_event(settings, command)
            return [event] if evolve(project, event) != project else []


def make_creation_events(command: AddProject) -> list[ProjectEvent]:
    creation = ProjectCreated(
        **validate_new_project(command),
        project_id=command.project_id,
        owner_alias=command.owner_alias,
        owner_user_id=command.owner_user_id,
        company_id=command.company_id,
        alias=command.alias,
        sealed_signature_key=command.sealed_signature_key,
        sealed_login=command.sealed_login,
        visibility=command.visibility,
    )
    if not command.secrets_id:
        return [creation]
    secrets = sort_unique(command.secrets_id)
    return [creation, ProjectSecretsSet(project_id=command.project_id, secrets_id=secrets, attached=secrets)]


def validate_new_project(command: CreateProject | AddProject) -> Payload:
    """Return the valid settings of a new project. They are checked in the order in which clients expect the errors."""
    return {
        "name": require_line(command.name, "PROJECT_NAME_REQUIRED"),
        "repository": strip_login(command.repository),
        "branch": validate_branch(command.branch),
        "spec_file_path": require_line(command.spec_file_path, "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        "allow_concurrent_execution": validate_concurrency(command.allow_concurrent_execution),
        "keep_number_build": validate_retention(command.keep_number_build),
        "description": blank_to_none(command.description),
        "executor_id": require_executor_id(command.executor_id),
        "credential_id": command.credential_id,
        "developers_id": sort_unique(command.developers_id),
        "protected_branches": command.protected_branches or None,
        **changed_limits(RetentionLimits(), command),
    }


def make_change_event(settings: ProjectCreated, command: ProjectCommand) -> ProjectEvent:
    id_ = settings.project_id
    match command:
        case RenameProject(name=name):
            return ProjectSettingsChanged(project_id=id_, name=require_line(name, "PROJECT_NAME_REQUIRED"))
        case DescribeProject(description=description):
            return ProjectSettingsChanged(project_id=id_, description=blank_to_none(description))
        case SetRepository(repository=repository, sealed_login=sealed):
            bare = strip_login(repository)
            return ProjectRepositoryChanged(project_id=id_, repository=bare, sealed_login=sealed)
        case ChangeBranch(branch=branch):
            return ProjectSettingsChanged(project_id=id_, branch=validate_branch(branch))
        case ChangeSpecFilePath(spec_file_path=path):
            path = require_line(path, "PROJECT_SPEC_FILE_PATH_REQUIRED")
            return ProjectSettingsChanged(project_id=id_, spec_file_path=path)
        case ChangeRetention(keep_number_build=number):
            return ProjectSettingsChanged(project_id=id_, keep_number_build=validate_retention(number))
        case ChangeRetentionLimits():
            return ProjectSettingsChanged(project_id=id_, **changed_limits(settings, command))
        case ChangeConcurrency(allow_concurrent_execution=allow):
            return ProjectSettingsChanged(project_id=id_, allow_concurrent_execution=validate_concurrency(allow))
        case ProtectBranches(protected_branches=branches):
            return ProjectSettingsChanged(project_id=id_, protected_branches=branches or None)
        case ChangeBadges(badges=badges):
            return ProjectSettingsChanged(project_id=id_, badges=bool(badges))
        case ChangeTriggers():
            return ProjectSettingsChanged(project_id=id_, **changed_triggers(settings, command))
        case ChangeVisibility(visibility=None):
            raise RequestRejected("PROJECT_VISIBILITY_INVALID")
        case ChangeVisibility(visibility=Visibility() as visibility):
            return ProjectSettingsChanged(project_id=id_, visibility=visibility)
        case ChangeForge():
            return make_forge_change(command)
        case SetProjectCredential(credential_id=credential_id):
            return ProjectSettingsChanged(project_id=id_, credential_id=credential_id)
        case SetProjectExecutor(executor_id=executor_id):
            return ProjectSettingsChanged(project_id=id_, executor_id=require_executor_id(executor_id))
        case SetProjectPath(owner_alias=None, alias=alias):
            return make_project_moved(settings, settings, alias)
        case SetProjectPath(alias=alias):
            return make_project_moved(settings, command, alias)
        case SetSignatureKey(sealed_signature_key=sealed):
            return ProjectSignatureKeyRenewed(project_id=id_, sealed_signature_key=sealed)
        case _:
            raise AssertionError(f"{command.wire_name} does not change a setting")


def make_project_moved(
    settings: ProjectCreated, owner: ProjectCreated | SetProjectPath, alias: str | None
) -> ProjectMoved:
    return ProjectMoved(
        project_id=settings.project_id,
        owner_alias=owner.owner_alias or "",
        owner_user_id=owner.owner_user_id,
        company_id=owner.company_id,
        alias=alias or settings.alias,
    )


def evolve(project: Project, event: ProjectEvent) -> Project:
    match event:
        case ProjectCreated():
            return Project(event)
        case ProjectSecretsSet():
            return project
        case ProjectDeleted():
            return Project(deleted=True)
        case (
            ProjectSettingsChanged()
            | ProjectRepositoryChanged()
            | ProjectDevelopersSet()
            | ProjectMoved()
            | ProjectSignatureKeyRenewed()
            # recorded by releases up to 0.2.0
            | ProjectRenamed()
            | ProjectDescribed()
            | ProjectBranchChanged()
            | ProjectSpecFilePathChanged()
            | ProjectRetentionChanged()
            | ProjectConcurrencyChanged()
            | ProjectBranchesProtected()
            | ProjectCredentialSet()
            | ProjectExecutorSet()
        ):
            # change events use the same field names as ProjectCreated
            return Project(project.settings.replace(**event.model_dump()) if project.settings else None)
        case _:
            assert_never(event)


def reserve_names(project: Project, event: ProjectEvent) -> Sequence[Reservation]:
    match event, project.settings:
        case ProjectCreated(), _:
            return [_path_reservation(event)]
        case ProjectMoved(), ProjectCreated() as before if _path_reservation(before) != _path_reservation(event):
            return [Release(_path_reservation(before).key), _path_reservation(event)]
        case ProjectDeleted(), ProjectCreated() as before:
            return [Release(_path_reservation(before).key)]
        case _:
            return []


def _path_reservation(event: ProjectCreated | ProjectMoved) -> Reserve:
    return Reserve(f"project:{event.owner_alias.lower()}/{event.alias}", "PROJECT_ALIAS_TAKEN")


project_decider = Decider[ProjectCommand, Project, ProjectEvent](
    commands=get_args(ProjectCommand),
    stream=lambda command: f"project-{command.project_id}",
    initial=Project(),
    decide=decide,
    evolve=evolve,
    reservations=reserve_names,
    initial_commands=(AddProject,),
)
