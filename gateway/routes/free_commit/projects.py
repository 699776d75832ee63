"""Routes of projects."""

from functools import partial

from contracts.projects import (
    ChangeBranch,
    ChangeConcurrency,
    ChangeRepository,
    ChangeRetention,
    ChangeSpecFilePath,
    CreateProject,
    DeleteProject,
    DescribeProject,
    GetProject,
    ListProjects,
    MoveProject,
    ProtectBranches,
    RenameProject,
    RenewSignatureKey,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
    SetProjectSecrets,
)
from gateway.adapters.free_commit import models as fc
from gateway.framework.fields import boolean, integer, integers, text, texts
from gateway.framework.route_table import Shown, command, query
from gateway.routes.route_builders import patch_field
from libs.messaging.request_reply import ReturnQuery

_project = Shown(ReturnQuery(GetProject, "project_id", reveal=True), fc.ONE_PROJECT)
patch_project = partial(patch_field, "/admin/projects/{project_id:id}", "project", shows=_project)

PROJECTS = (
    query("/developer/projects", ListProjects, parts=(fc.reveal_to_admins,), write=fc.PROJECTS),
    query("/developer/projects/{project_id:id}", GetProject, parts=(fc.reveal_to_admins,), write=fc.ONE_PROJECT),
    query("/admin/projects", ListProjects, parts=(fc.reveal_always,), write=fc.PROJECTS),
    query("/admin/projects/{project_id:id}", GetProject, parts=(fc.reveal_always,), write=fc.ONE_PROJECT),
    command("POST", "/admin/projects", CreateProject, body=fc.PROJECT, status=201, shows=_project),
    patch_project("name", RenameProject, name=text),
    patch_project("description", DescribeProject, description=text),
    patch_project("repository", ChangeRepository, repository=text),
    patch_project("branch", ChangeBranch, branch=text),
    patch_project("spec_file_path", ChangeSpecFilePath, spec_file_path=text),
    patch_project("keep_number_build", ChangeRetention, keep_number_build=integer),
    patch_project("allow_concurrent_execution", ChangeConcurrency, allow_concurrent_execution=boolean),
    patch_project("developers", SetProjectDevelopers, developers_id=integers.needed()),
    patch_project("secrets", SetProjectSecrets, secrets_id=integers.needed()),
    patch_project(
        "repository_credential", SetProjectCredential, credential_id=integer.called("repository_credential_id")
    ),
    patch_project("executor", SetProjectExecutor, executor_id=integer.must()),
    patch_project("owner_alias", MoveProject, owner_alias=text),
    patch_project("alias", MoveProject, alias=text),
    patch_project("protected_branches", ProtectBranches, protected_branches=texts),
    patch_project("signature_key", RenewSignatureKey),
    command("DELETE", "/admin/projects/{project_id:id}", DeleteProject, status=204),
)
