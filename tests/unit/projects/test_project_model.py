"""Model test of projects: settings, members and a path that no other project has."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant

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
    DescribeProject,
    ForgeKind,
    ProjectDeleted,
    ProjectRole,
    ProtectBranches,
    PullRequestBuilds,
    RemoveProjectMember,
    RenameProject,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectMember,
    SupersededBuilds,
    Visibility,
)
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
from services.projects.domain.project import ProjectCommand
from services.projects.projections import ProjectRow, project_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

PROJECT_IDS = (1, 2, 3)
USER_IDS = (11, 12)
URL = "https://git.example.org/mill.git"
READER, DEVELOPER, MAINTAINER = ProjectRole
TEXTS = ("mill", " mill ", "windmill", " ", None)
NEW_PROJECT: Mapping[str, object] = {
    "name": "mill",
    "branch": "main",
    "spec_file_path": "/ci",
    "description": None,
    "repository": URL,
    "sealed_login": "",
    "keep_number_build": None,
    "keep_log_days": 0,
    "allow_concurrent_execution": True,
    "protected_branches": None,
    "badges": False,
    "superseded_builds": SupersededBuilds.KEEP,
    "build_tags": False,
    "build_pull_requests": PullRequestBuilds.NONE,
    "visibility": Visibility.INTERNAL,
    "forge_kind": ForgeKind.NONE,
    "forge_secret": "",
    "credential_id": None,
    "executor_id": 1,
    "sealed_signature_key": "sealed-1",
}


@dataclass(frozen=True)
class ProjectModel:
    path: tuple[str, str]  # owner and alias
    settings: Mapping[str, object]
    members: Mapping[int, ProjectRole] = field(default_factory=dict)
    is_deleted: bool = False

    def changed(self, command: ProjectCommand) -> "ProjectModel | str":
        """Return the project after the command, or the code of a rejection that does not depend on other projects."""
        match command:
            case AddProject():
                return "CONFLICT"
            case RemoveProject():
                return replace(self, is_deleted=True)
            case SetProjectMember(role=None):
                return "PROJECT_ROLE_INVALID"
            case SetProjectMember(user_id=user_id, role=ProjectRole() as role):
                return self.with_members({**self.members, user_id: role})
            case AddDeveloper(developer_id=user_id):
                return self.with_members({**self.members, user_id: DEVELOPER})
            case RemoveProjectMember(user_id=user_id) | RemoveDeveloper(developer_id=user_id):
                return self.with_members({id_: role for id_, role in self.members.items() if id_ != user_id})
            case SetProjectDevelopers(developers_id=ids):
                others = {id_: role for id_, role in self.members.items() if role != DEVELOPER}
                return self.with_members({**others, **dict.fromkeys(ids, DEVELOPER)})
            case SetProjectPath(owner_alias=owner, alias=alias):
                return replace(self, path=(owner or self.path[0], alias or self.path[1]))
            case SelectSecrets():
                return self
            case _:
                values = values_of(command)
                return values if isinstance(values, str) else replace(self, settings={**self.settings, **values})

    def with_members(self, members: Mapping[int, ProjectRole]) -> "ProjectModel":
        return replace(self, members=members)


def values_of(command: ProjectCommand) -> dict[str, object] | str:
    """Return the settings that a command gives to a project, by field, or the code of its rejection."""
    match command:
        case RenameProject(name=name):
            return {"name": name.strip()} if name and name.strip() else "PROJECT_NAME_REQUIRED"
        case ChangeBranch(branch=branch):
            return {"branch": branch.strip()} if branch and branch.strip() else "PROJECT_BRANCH_REQUIRED"
        case ChangeSpecFilePath(spec_file_path=path):
            return {"spec_file_path": path.strip()} if path and path.strip() else "PROJECT_SPEC_FILE_PATH_REQUIRED"
        case DescribeProject(description=description):
            return {"description": (description or "").strip() or None}
        case SetRepository(repository=repository, sealed_login=login):
            return {"repository": repository, "sealed_login": login} if repository else "PROJECT_REPOSITORY_REQUIRED"
        case ChangeRetention(keep_number_build=number):
            return "PROJECT_KEEP_NUMBER_BUILD_INVALID" if number == -1 else {"keep_number_build": number}
        case ChangeRetentionLimits(keep_log_days=days):
            return "PROJECT_RETENTION_INVALID" if days == -1 else {} if days is None else {"keep_log_days": days}
        case ChangeConcurrency(allow_concurrent_execution=allow):
            is_missing = allow is None
            return (
                "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED" if is_missing else {"allow_concurrent_execution": allow}
            )
        case ProtectBranches(protected_branches=branches):
            return {"protected_branches": branches or None}
        case ChangeBadges(badges=badges):
            return {"badges": bool(badges)}
        case ChangeTriggers(superseded_builds=superseded, build_tags=tags, build_pull_requests=requests):
            sent = {"superseded_builds": superseded, "build_tags": tags, "build_pull_requests": requests}
            return {name: value for name, value in sent.items() if value is not None}
        case ChangeVisibility(visibility=visibility):
            return {"visibility": visibility} if visibility else "PROJECT_VISIBILITY_INVALID"
        case ChangeForge(kind=kind, secret=secret):
            if kind is None or (kind is ForgeKind.GITHUB and not secret):
                return "PROJECT_FORGE_INVALID"
            return {"forge_kind": kind, "forge_secret": secret if kind is ForgeKind.GITHUB else ""}
        case SetProjectCredential(credential_id=credential_id):
            return {"credential_id": credential_id}
        case SetProjectExecutor(executor_id=executor_id):
            return {"executor_id": executor_id} if executor_id else "EXECUTOR_NOT_FOUND"
        case SetSignatureKey(sealed_signature_key=key):
            return {"sealed_signature_key": key}
        case _:
            raise AssertionError(command)


@dataclass(frozen=True)
class ProjectsModel:
    projects: Mapping[int, ProjectModel] = field(default_factory=dict)  # projects by id

    def send(self, command: ProjectCommand) -> tuple["ProjectsModel", str]:
        before = self.projects.get(command.project_id)
        if before is None and isinstance(command, AddProject):
            developers = dict.fromkeys(command.developers_id, DEVELOPER)
            after: ProjectModel | str = ProjectModel((command.owner_alias, command.alias), NEW_PROJECT, developers)
        elif before is None or before.is_deleted:
            return self, "PROJECT_NOT_FOUND"
        else:
            after = before.changed(command)
        if isinstance(after, str):
            return self, after
        # recorded also without a change: they are follow-ups, or the list of secrets is not part of the project
        is_always_recorded = isinstance(command, AddDeveloper | RemoveDeveloper | SelectSecrets)
        if after == before and not is_always_recorded:
            return self, IGNORED
        others = [project for id_, project in self.projects.items() if id_ != command.project_id]
        if not after.is_deleted and path_key(after) in {path_key(other) for other in others if not other.is_deleted}:
            return self, "PROJECT_ALIAS_TAKEN"
        return ProjectsModel({**self.projects, command.project_id: after}), ACCEPTED


def path_key(project: ProjectModel) -> tuple[str, str]:
    return project.path[0].lower(), project.path[1]


ids, user_ids, texts = st.sampled_from(PROJECT_IDS), st.sampled_from(USER_IDS), st.sampled_from(TEXTS)
owners, aliases = st.sampled_from(("ivan", "Ivan", "acme")), st.sampled_from(("mill", "forge"))
numbers, some_users = st.sampled_from((None, -1, 0, 5)), st.lists(user_ids, max_size=3).map(tuple)
additions = st.builds(
    lambda id_, owner, alias, developers: AddProject(
        project_id=id_,
        name="mill",
        repository=URL,
        branch="main",
        spec_file_path="/ci",
        allow_concurrent_execution=True,
        executor_id=1,
        owner_alias=owner,
        alias=alias,
        sealed_signature_key="sealed-1",
        developers_id=developers,
    ),
    ids,
    owners,
    aliases,
    some_users,
)


class ProjectMachine(DeciderMachine[ProjectsModel]):
    categories = (project_category,)
    deletions = (ProjectDeleted,)

    commands = seldom(
        st.builds(RemoveProject, ids),
        st.one_of(
            additions,
            additions,
            st.builds(SetProjectPath, ids, st.none() | owners, st.none() | aliases),
            st.builds(SetProjectMember, project_id=ids, user_id=user_ids, role=st.sampled_from((*ProjectRole, None))),
            st.builds(RemoveProjectMember, project_id=ids, user_id=user_ids),
            st.builds(SetProjectDevelopers, project_id=ids, developers_id=some_users),
            st.builds(AddDeveloper, ids, user_ids),
            st.builds(RemoveDeveloper, ids, user_ids),
            st.builds(SelectSecrets, ids, st.just((1,))),
            st.one_of(
                st.builds(RenameProject, project_id=ids, name=texts),
                st.builds(ChangeBranch, project_id=ids, branch=texts),
                st.builds(ChangeSpecFilePath, project_id=ids, spec_file_path=texts),
                st.builds(DescribeProject, project_id=ids, description=texts),
                st.builds(SetRepository, ids, st.sampled_from((URL, None)), st.sampled_from(("", "sealed"))),
                st.builds(ChangeRetention, project_id=ids, keep_number_build=numbers),
                st.builds(ChangeRetentionLimits, project_id=ids, keep_log_days=numbers),
                st.builds(ChangeConcurrency, project_id=ids, allow_concurrent_execution=st.none() | st.booleans()),
                st.builds(ProtectBranches, project_id=ids, protected_branches=st.sampled_from((None, (), ("main",)))),
                st.builds(ChangeBadges, project_id=ids, badges=st.none() | st.booleans()),
                st.builds(
                    ChangeTriggers,
                    project_id=ids,
                    superseded_builds=st.sampled_from((*SupersededBuilds, None)),
                    build_tags=st.none() | st.booleans(),
                    build_pull_requests=st.sampled_from((*PullRequestBuilds, None)),
                ),
                st.builds(ChangeVisibility, project_id=ids, visibility=st.sampled_from((*Visibility, None))),
                st.builds(
                    ChangeForge,
                    project_id=ids,
                    kind=st.sampled_from((ForgeKind.NONE, ForgeKind.GITHUB, None)),
                    secret=st.sampled_from((None, "TOKEN")),
                ),
                st.builds(SetProjectCredential, project_id=ids, credential_id=st.sampled_from((None, 3))),
                st.builds(SetProjectExecutor, project_id=ids, executor_id=st.sampled_from((None, 1, 2))),
                st.builds(SetSignatureKey, ids, st.sampled_from(("sealed-1", "sealed-2"))),
            ),
        ),
    )

    def new_model(self) -> ProjectsModel:
        return ProjectsModel()

    def rows(self) -> dict[int, ProjectRow]:
        return {id_: self.followed[f"project-{id_}"].row for id_ in self.model.projects}

    @invariant()
    def each_project_is_what_the_model_says(self) -> None:
        for id_, row in self.rows().items():
            project = self.model.projects[id_]
            if project.is_deleted:
                assert row == ProjectRow()
                continue
            assert (row.id, row.owner_alias, row.alias) == (id_, *project.path)
            assert {name: getattr(row, name) for name in project.settings} == project.settings

    @invariant()
    def a_user_is_in_one_list_of_members_at_most(self) -> None:
        for id_, row in self.rows().items():
            lists = {READER: row.readers_id, DEVELOPER: row.developers_id, MAINTAINER: row.maintainers_id}
            members = [user_id for ids in lists.values() for user_id in ids]
            assert len(set(members)) == len(members)
            if row.id:
                assert {user_id: role for role, ids in lists.items() for user_id in ids} == self.model.projects[
                    id_
                ].members

    @invariant()
    def a_path_belongs_to_one_project(self) -> None:
        paths = [(row.owner_key, row.alias) for row in self.rows().values() if row.id]
        assert len(set(paths)) == len(paths)


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_projects_follow_the_model() -> None:
    run_machine(ProjectMachine)
