"""A project: its settings, its owner, its developers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.projects import (
    AddDeveloper,
    ChangeBranch,
    ChangeConcurrency,
    ChangeRepository,
    ChangeRetention,
    ChangeSpecFilePath,
    ChooseCredential,
    ChooseDevelopers,
    ChooseExecutor,
    ChooseSecrets,
    DeleteProject,
    DescribeProject,
    MoveProject,
    ProjectBranchChanged,
    ProjectBranchesProtected,
    ProjectCommand,
    ProjectConcurrencyChanged,
    ProjectCreated,
    ProjectCredentialChosen,
    ProjectDeleted,
    ProjectDescribed,
    ProjectDevelopersChosen,
    ProjectEvent,
    ProjectExecutorChosen,
    ProjectMoved,
    ProjectRenamed,
    ProjectRepositoryChanged,
    ProjectRetentionChanged,
    ProjectSecretsChosen,
    ProjectSignatureKeyRenewed,
    ProjectSpecFilePathChanged,
    ProtectBranches,
    RecordProject,
    RemoveDeveloper,
    RenameProject,
    RenewSignatureKey,
)
from libs.deciding import Claim, Decider, Refused, Release, Take
from services.projects.domain.repository import bare_repository, valid_branch
from services.projects.domain.text import optional, required_line, unique

ALIAS = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}")
MOST_BUILDS = 10**9


@dataclass(frozen=True, slots=True)
class Project:
    """`settings` is the event that would create the project as it is now."""

    settings: ProjectCreated | None = None
    deleted: bool = False


def decide(project: Project, command: ProjectCommand) -> list[ProjectEvent]:
    match project.settings, command:
        case None, RecordProject() if not project.deleted:
            return created(command)
        case None, _:
            raise Refused("PROJECT_NOT_FOUND")
        case _, RecordProject():
            raise Refused("CONFLICT", "this project exists already")
        case _, DeleteProject(project_id=project_id, secrets_id=secrets_id):
            return [ProjectDeleted(project_id=project_id, secrets_id=secrets_id)]
        case _, ChooseSecrets():
            return [ProjectSecretsChosen.model_validate(dict(command))]
        case ProjectCreated() as settings, (AddDeveloper() | RemoveDeveloper()):
            # recorded even if it changes nothing: only what is recorded is known when the same wish arrives again, late
            return [changed(settings, command)]
        case ProjectCreated() as settings, _:
            event = changed(settings, command)
            return [event] if evolve(project, event) != project else []


def created(command: RecordProject) -> list[ProjectEvent]:
    """Checked in the order in which clients expect the refusals."""
    creation = ProjectCreated(
        project_id=command.project_id,
        name=required_line(command.name, "PROJECT_NAME_REQUIRED"),
        repository=bare_repository(command.repository),
        branch=valid_branch(command.branch),
        spec_file_path=required_line(command.spec_file_path, "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        allow_concurrent_execution=said(command.allow_concurrent_execution),
        keep_number_build=valid_retention(command.keep_number_build),
        description=optional(command.description),
        executor_id=known_executor(command.executor_id),
        credential_id=command.credential_id,
        developers_id=unique(command.developers_id),
        protected_branches=command.protected_branches or None,
        owner_alias=command.owner_alias or "",
        owner_user_id=command.owner_user_id,
        company_id=command.company_id,
        alias=command.alias or "",
        sealed_signature_key=command.sealed_signature_key,
        sealed_login=command.sealed_login,
    )
    if not command.secrets_id:
        return [creation]
    secrets = unique(command.secrets_id)
    return [creation, ProjectSecretsChosen(project_id=command.project_id, secrets_id=secrets, attached=secrets)]


def changed(settings: ProjectCreated, command: ProjectCommand) -> ProjectEvent:
    id_ = settings.project_id
    match command:
        case RenameProject(name=name):
            return ProjectRenamed(project_id=id_, name=required_line(name, "PROJECT_NAME_REQUIRED"))
        case DescribeProject(description=description):
            return ProjectDescribed(project_id=id_, description=optional(description))
        case ChangeRepository(repository=repository, sealed_login=sealed):
            bare = bare_repository(repository)
            return ProjectRepositoryChanged(project_id=id_, repository=bare, sealed_login=sealed)
        case ChangeBranch(branch=branch):
            return ProjectBranchChanged(project_id=id_, branch=valid_branch(branch))
        case ChangeSpecFilePath(spec_file_path=path):
            path = required_line(path, "PROJECT_SPEC_FILE_PATH_REQUIRED")
            return ProjectSpecFilePathChanged(project_id=id_, spec_file_path=path)
        case ChangeRetention(keep_number_build=number):
            return ProjectRetentionChanged(project_id=id_, keep_number_build=valid_retention(number))
        case ChangeConcurrency(allow_concurrent_execution=allow):
            return ProjectConcurrencyChanged(project_id=id_, allow_concurrent_execution=said(allow))
        case ProtectBranches(protected_branches=branches):
            return ProjectBranchesProtected(project_id=id_, protected_branches=branches or None)
        case ChooseDevelopers(developers_id=ids):
            return ProjectDevelopersChosen(project_id=id_, developers_id=unique(ids))
        case AddDeveloper(developer_id=one):
            return ProjectDevelopersChosen(project_id=id_, developers_id=unique((*settings.developers_id, one)))
        case RemoveDeveloper(developer_id=one):
            others = tuple(other for other in settings.developers_id if other != one)
            return ProjectDevelopersChosen(project_id=id_, developers_id=others)
        case ChooseCredential(credential_id=credential_id):
            return ProjectCredentialChosen(project_id=id_, credential_id=credential_id)
        case ChooseExecutor(executor_id=executor_id):
            return ProjectExecutorChosen(project_id=id_, executor_id=known_executor(executor_id))
        case MoveProject(owner_alias=None, alias=alias):
            return moved(settings, settings, alias)
        case MoveProject(alias=alias):
            return moved(settings, command, alias)
        case RenewSignatureKey(sealed_signature_key=sealed):
            return ProjectSignatureKeyRenewed(project_id=id_, sealed_signature_key=sealed)
        case _:
            raise AssertionError(f"{command.wire_name} changes no setting")


def moved(settings: ProjectCreated, owner: ProjectCreated | MoveProject, alias: str | None) -> ProjectMoved:
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
        case ProjectSecretsChosen():
            return project
        case ProjectDeleted():
            return Project(deleted=True)
        case (
            ProjectRenamed()
            | ProjectDescribed()
            | ProjectRepositoryChanged()
            | ProjectBranchChanged()
            | ProjectSpecFilePathChanged()
            | ProjectRetentionChanged()
            | ProjectConcurrencyChanged()
            | ProjectBranchesProtected()
            | ProjectDevelopersChosen()
            | ProjectCredentialChosen()
            | ProjectExecutorChosen()
            | ProjectMoved()
            | ProjectSignatureKeyRenewed()
        ):
            # a change names its new value as the creation did
            return Project(project.settings.but(**dict(event)) if project.settings else None)
        case _:
            assert_never(event)


def claims(project: Project, event: ProjectEvent) -> Sequence[Claim]:
    match event, project.settings:
        case ProjectCreated(), _:
            return [_address(event)]
        case ProjectMoved(), ProjectCreated() as before if _address(before) != _address(event):
            return [Release(_address(before).key), _address(event)]
        case ProjectDeleted(), ProjectCreated() as before:
            return [Release(_address(before).key)]
        case _:
            return []


def _address(at: ProjectCreated | ProjectMoved) -> Take:
    return Take(f"project:{at.owner_alias.lower()}/{at.alias}", "PROJECT_ALIAS_TAKEN")


def valid_alias(text: str) -> str:
    alias = text.strip().lower()
    if not ALIAS.fullmatch(alias):
        raise Refused("PROJECT_ALIAS_INVALID")
    return alias


def valid_retention(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= MOST_BUILDS:
        raise Refused("PROJECT_KEEP_NUMBER_BUILD_INVALID")
    return number


def said(answer: bool | None) -> bool:
    if answer is None:
        raise Refused("PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED")
    return answer


def known_executor(executor_id: int | None) -> int:
    if executor_id is None:
        raise Refused("EXECUTOR_NOT_FOUND")
    return executor_id


project_decider = Decider[ProjectCommand, Project, ProjectEvent](
    commands=(
        RecordProject,
        RenameProject,
        DescribeProject,
        ChangeRepository,
        ChangeBranch,
        ChangeSpecFilePath,
        ChangeRetention,
        ChangeConcurrency,
        ProtectBranches,
        ChooseDevelopers,
        AddDeveloper,
        RemoveDeveloper,
        ChooseSecrets,
        ChooseCredential,
        ChooseExecutor,
        MoveProject,
        RenewSignatureKey,
        DeleteProject,
    ),
    stream=lambda command: f"project-{command.project_id}",
    initial=Project(),
    decide=decide,
    evolve=evolve,
    claims=claims,
    creates=(RecordProject,),
)
