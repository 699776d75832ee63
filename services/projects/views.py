"""Conversion of read-model rows to the views that queries return."""

from collections.abc import Mapping

from contracts.projects import CredentialView, ExecutorView, LaunchSettings, ProjectView, SecretView
from services.projects.build_activity import BuildActivity
from services.projects.projections import CredentialRow, ExecutorRow, ProjectRow, SecretRow

MASK = "*" * 11


def to_project_view(
    row: ProjectRow, activity: BuildActivity, secrets_id: tuple[int, ...], signature_key: str | None
) -> ProjectView:
    return ProjectView(
        **row.model_dump(include=set(ProjectView.model_fields) - {"protected_branches"}),
        protected_branches=row.effective_protected_branches,
        signature_key=signature_key,
        secrets_id=secrets_id,
        available_steps=activity.available_steps,
        builds_id=activity.builds_id,
        last_build=activity.last_build,
    )


def to_launch_settings(row: ProjectRow, *, allowed: bool) -> LaunchSettings:
    shared = set(LaunchSettings.model_fields) - {"project_id", "protected_branches", "allowed"}
    own = row.model_dump(include=shared)
    return LaunchSettings(
        project_id=row.id, protected_branches=row.effective_protected_branches, allowed=allowed, **own
    )


def to_secret_view(row: SecretRow, value: str | None = None) -> SecretView:
    fields = row.model_dump(exclude={"sealed_value", "scope", "created_at"})
    return SecretView(**fields, value=value, is_global=row.scope == "PUBLIC")


def to_credential_view(row: CredentialRow, ssh_key: str | None = None) -> CredentialView:
    return CredentialView(id=row.id, name=row.name, ssh_key=ssh_key)


def to_executor_view(row: ExecutorRow, variables: Mapping[str, str], *, reveal: bool) -> ExecutorView:
    visible = {name: value if reveal else MASK for name, value in variables.items()}
    return ExecutorView(id=row.id, name=row.name, driver=row.driver, variables=visible)
