"""Projects."""

from functools import partial

from contracts.projects import (
    ChangeBranch,
    ChangeConcurrency,
    ChangeRepository,
    ChangeRetention,
    ChangeSpecFilePath,
    ChooseCredential,
    ChooseDevelopers,
    ChooseExecutor,
    ChooseSecrets,
    CreateProject,
    DeleteProject,
    DescribeProject,
    GetProject,
    ListProjects,
    MoveProject,
    ProtectBranches,
    RenameProject,
    RenewSignatureKey,
)
from gateway.dialects import free_commit as fc
from gateway.fields import boolean, integer, integers, text, texts
from gateway.routes.patching import change
from gateway.routing import Shown, command, query
from libs.messaging import Showing

_project = Shown(Showing(GetProject, "project_id", reveal=True), fc.ONE_PROJECT)
project = partial(change, "/admin/projects/{project_id:id}", "project", shows=_project)

PROJECTS = (
    query("/developer/projects", ListProjects, parts=(fc.revealing,), write=fc.PROJECTS),
    query("/developer/projects/{project_id:id}", GetProject, parts=(fc.revealing,), write=fc.ONE_PROJECT),
    query("/admin/projects", ListProjects, parts=(fc.revealed,), write=fc.PROJECTS),
    query("/admin/projects/{project_id:id}", GetProject, parts=(fc.revealed,), write=fc.ONE_PROJECT),
    command("POST", "/admin/projects", CreateProject, body=fc.PROJECT, status=201, shows=_project),
    project("name", RenameProject, name=text),
    project("description", DescribeProject, description=text),
    project("repository", ChangeRepository, repository=text),
    project("branch", ChangeBranch, branch=text),
    project("spec_file_path", ChangeSpecFilePath, spec_file_path=text),
    project("keep_number_build", ChangeRetention, keep_number_build=integer),
    project("allow_concurrent_execution", ChangeConcurrency, allow_concurrent_execution=boolean),
    project("developers", ChooseDevelopers, developers_id=integers.needed()),
    project("secrets", ChooseSecrets, secrets_id=integers.needed()),
    project("repository_credential", ChooseCredential, credential_id=integer.called("repository_credential_id")),
    project("executor", ChooseExecutor, executor_id=integer.must()),
    project("owner_alias", MoveProject, owner_alias=text),
    project("alias", MoveProject, alias=text),
    project("protected_branches", ProtectBranches, protected_branches=texts),
    project("signature_key", RenewSignatureKey),
    command("DELETE", "/admin/projects/{project_id:id}", DeleteProject, status=204),
)
