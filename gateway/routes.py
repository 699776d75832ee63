"""Every route of the gateway, one line each."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from contracts.builds import GetBuild, ListQueued, ListRunning, QueueBuild, ReadLiveLog, ReadLog
from contracts.identity import (
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    GetUser,
    ListUsers,
    LogIn,
    PageUsers,
    RegisterUser,
    RenameUser,
    SetUserEnabled,
)
from contracts.messages import Command
from contracts.notifications import SendTestMail
from contracts.projects import (
    ChangeBranch,
    ChangeConcurrency,
    ChangeCredentialKey,
    ChangeEscapedCharacters,
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeRetention,
    ChangeSecretValue,
    ChangeSpecFilePath,
    ChooseCredential,
    ChooseDevelopers,
    ChooseExecutor,
    ChooseSecretProjects,
    ChooseSecrets,
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    DeleteCredential,
    DeleteProject,
    DeleteSecret,
    DescribeProject,
    GetCredential,
    GetExecutor,
    GetProject,
    GetSecret,
    LabelSecret,
    ListCredentials,
    ListExecutors,
    ListProjects,
    ListSecrets,
    MoveProject,
    PageProjects,
    PageSecrets,
    ProtectBranches,
    RenameCredential,
    RenameExecutor,
    RenameProject,
    RenameSecret,
    RenewSignatureKey,
    RevealCredential,
    RevealSecret,
)
from contracts.runners import GetRegistrationInfo
from gateway import paging
from gateway.dialects import free_commit as fc
from gateway.dialects import free_commit_actions as actions
from gateway.dialects import gitflic, gitlab_job, gitlab_runner
from gateway.events import events
from gateway.fields import Field, boolean, integer, integers, mapping, scalar, text, texts
from gateway.routing import Raw, Route, Shown, answered, body, command, own, query
from libs.messaging import Showing


def _change(
    base: str,
    resource: str,
    part: str,
    message: type[Command],
    *,
    shows: Shown,
    fixed: Mapping[str, Any] | None = None,
    **fields: Field,
) -> Route:
    """PATCH of a single field; the answer is the whole resource."""
    parts = (lambda _asked: fixed,) if fixed else ()
    return command("PATCH", f"{base}/{part}", message, body=body(resource, **fields), parts=parts, shows=shows)


def _page(path: str, message: Any, write: Any) -> Route:
    return query(path, message, parts=(paging.wanted,), write=write, query=paging.PARAMETERS)


_project = Shown(Showing(GetProject, "project_id", reveal=True), fc.ONE_PROJECT)
_user = Shown(Showing(GetUser, "user_id"), fc.ONE_DEVELOPER)
_secret = Shown(Showing(RevealSecret, "secret_id"), fc.REVEALED_SECRET)
_new_secret = Shown(Showing(GetSecret, "secret_id"), fc.ECHOED_SECRET)
_credential = Shown(Showing(RevealCredential, "credential_id"), fc.REVEALED_CREDENTIAL)
_new_credential = Shown(Showing(GetCredential, "credential_id"), fc.ECHOED_CREDENTIAL)
_executor = Shown(Showing(GetExecutor, "executor_id", reveal=True), fc.ONE_EXECUTOR)

project = partial(_change, "/admin/projects/{project_id:id}", "project", shows=_project)
secret = partial(_change, "/admin/secrets/{secret_id:id}", "secret", shows=_secret)
credential = partial(_change, "/admin/credentials/{credential_id:id}", "credential", shows=_credential)
developer = partial(_change, "/admin/developers/{user_id:id}", "developer", shows=_user)
executor = partial(_change, "/admin/executors/{executor_id:id}", "executor", shows=_executor)

RAW = (
    Raw("POST", "/api/v4/jobs/request", answered(gitlab_job.request_job)),
    Raw("PATCH", "/api/v4/jobs/{job_id:id}/trace", answered(gitlab_runner.append_trace)),
    Raw("PUT", "/api/v4/jobs/{job_id:id}", answered(gitlab_runner.report)),
    Raw("POST", "/api/v4/runners", answered(gitlab_runner.register)),
    Raw("DELETE", "/api/v4/runners", answered(gitlab_runner.unregister)),
    Raw("POST", "/api/v4/runners/verify", answered(gitlab_runner.verify)),
    Raw("POST", "/api/v4/runners/reset_authentication_token", answered(gitlab_runner.reset_token)),
    Raw("GET", "/api/events", events),
)

TABLE = (
    # builds and logs
    command("POST", "/developer/builds/{project_id:id}", QueueBuild, body=fc.LAUNCH, write=fc.LAUNCHED),
    query("/developer/builds/queueds", ListQueued, write=fc.QUEUEDS),
    query("/developer/builds/executeds", ListRunning, write=fc.EXECUTEDS),
    query("/developer/builds/{build_id:id}", GetBuild, write=fc.ONE_BUILD),
    own("GET", "/developer/builds/by/project/{project_id:id}", actions.builds_of_project, write=fc.BUILDS),
    query(
        "/developer/logs/{executor_id}/{step}/{line_number}", ReadLiveLog, parts=(fc.line_number,), write=fc.LIVE_LOG
    ),
    query("/developer/logs/{build_id:id}/{step}", ReadLog, write=fc.LOG),
    own("DELETE", "/developer/builds/kill/queued/{executor_id}", actions.kill, status=204),
    own("DELETE", "/developer/builds/kill/executed/{executor_id}", actions.kill, status=204),
    # public and user
    query("/auth/token", LogIn, method="POST", body=fc.LOGIN, write=fc.TOKEN, timeout=10),
    own("GET", "/user/info", actions.user_info, write=fc.USER),
    own("GET", "/guest/ping", actions.ping),
    # pages
    _page("/developer/paginations/project", PageProjects, fc.PROJECT_PAGE),
    _page("/developer/paginations/developer", PageUsers, fc.DEVELOPER_PAGE),
    _page("/developer/paginations/secret", PageSecrets, fc.SECRET_PAGE),
    # projects
    query("/developer/projects", ListProjects, parts=(fc.revealing,), write=fc.PROJECTS),
    query("/developer/projects/{project_id:id}", GetProject, parts=(fc.revealing,), write=fc.ONE_PROJECT),
    query("/admin/projects/{project_id:id}", GetProject, parts=(fc.revealed,), write=fc.ONE_PROJECT),
    command("POST", "/admin/projects", CreateProject, body=fc.PROJECT, status=201, shows=_project),
    project("name", RenameProject, name=text),
    project("description", DescribeProject, description=text),
    project("repository", ChangeRepository, repository=text),
    project("branch", ChangeBranch, branch=text),
    project("spec_file_path", ChangeSpecFilePath, spec_file_path=text),
    project("keep_number_build", ChangeRetention, keep_number_build=integer),
    project("allow_concurrent_execution", ChangeConcurrency, allow_concurrent_execution=boolean),
    project("developers", ChooseDevelopers, developers_id=integers),
    project("secrets", ChooseSecrets, secrets_id=integers),
    project("repository_credential", ChooseCredential, credential_id=integer.called("repository_credential_id")),
    project("executor", ChooseExecutor, executor_id=integer),
    project("owner_alias", MoveProject, owner_alias=text),
    project("alias", MoveProject, alias=text),
    project("protected_branches", ProtectBranches, protected_branches=texts),
    project("signature_key", RenewSignatureKey),
    command("DELETE", "/admin/projects/{project_id:id}", DeleteProject, status=204),
    # secrets
    query("/developer/secrets", ListSecrets, write=fc.SECRETS),
    query("/developer/secrets/{secret_id:id}", GetSecret, write=fc.ONE_SECRET),
    command("GET", "/admin/secrets/{secret_id:id}", RevealSecret, write=fc.REVEALED_SECRET),
    command("POST", "/admin/secrets", CreateSecret, body=fc.SECRET, status=201, shows=_new_secret),
    secret("name", RenameSecret, name=scalar),
    secret("value", ChangeSecretValue, value=scalar, shows=_new_secret),
    secret("env", LabelSecret, env=scalar),
    secret("escape_char", ChangeEscapedCharacters, escape_char=text),
    secret("projects", ChooseSecretProjects, projects_id=integers.otherwise(())),
    command("DELETE", "/admin/secrets/{secret_id:id}", DeleteSecret, status=204),
    # credentials
    query("/developer/credentials", ListCredentials, write=fc.CREDENTIALS),
    query("/developer/credentials/{credential_id:id}", GetCredential, write=fc.ONE_CREDENTIAL),
    command("GET", "/admin/credentials/{credential_id:id}", RevealCredential, write=fc.REVEALED_CREDENTIAL),
    command("POST", "/admin/credentials", CreateCredential, body=fc.CREDENTIAL, status=201, shows=_new_credential),
    credential("name", RenameCredential, name=text),
    credential("ssh_key", ChangeCredentialKey, ssh_key=text, shows=_new_credential),
    command("DELETE", "/admin/credentials/{credential_id:id}", DeleteCredential, status=204),
    # users
    query("/developer/developers", ListUsers, write=fc.DEVELOPERS),
    query("/developer/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    query("/admin/developers/{user_id:id}", GetUser, write=fc.ONE_DEVELOPER),
    command("POST", "/admin/developers", RegisterUser, body=fc.DEVELOPER, status=201, shows=_user),
    developer("username", RenameUser, username=text),
    developer("password", ChangePassword, password=text),
    developer("email", ChangeEmail, email=text),
    developer(
        "github_username", ChangeProviderName, fixed={"provider": "github"}, username=text.called("github_username")
    ),
    developer(
        "gitlab_username", ChangeProviderName, fixed={"provider": "gitlab"}, username=text.called("gitlab_username")
    ),
    developer("enabled", SetUserEnabled, enabled=boolean),
    developer("roles", ChangeRoles, roles=texts),
    developer("role", ChangeRoles, roles=texts),
    # executors
    query("/developer/executors", ListExecutors, write=fc.EXECUTORS),
    query("/admin/executors", ListExecutors, parts=(fc.revealed,), write=fc.EXECUTORS),
    query("/admin/executors/{executor_id:id}", GetExecutor, parts=(fc.revealed,), write=fc.ONE_EXECUTOR),
    command("POST", "/admin/executors", CreateExecutor, body=fc.EXECUTOR, status=201, shows=_executor),
    executor("name", RenameExecutor, name=scalar),
    executor("variables", ChangeExecutorVariables, variables=mapping),
    # configuration
    command("POST", "/admin/config/mail/test/{recipient}", SendTestMail),
    # runners, as GitFlic has them
    query("/admin/runners/registration-info", GetRegistrationInfo, write=gitflic.REGISTRATION_INFO, stranger=403),
)
