"""Error codes of invalid request fields, by their location in the request."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from contracts.projects import BuildTriggers, RetentionLimits

DEFAULT_CODE = "REQUEST_INVALID"


class FieldCodes(NamedTuple):
    required: str = DEFAULT_CODE  # code for a missing field
    invalid: str = DEFAULT_CODE  # code for a wrong type or value


FIELD_CODES: dict[str, FieldCodes] = {
    "Idempotency-Key": FieldCodes(invalid="IDEMPOTENCY_KEY_INVALID"),
    "build.priority": FieldCodes("BUILD_PRIORITY_REQUIRED", "BUILD_PRIORITY_INVALID"),
    "company.alias": FieldCodes(invalid="COMPANY_ALIAS_INVALID"),
    "company.title": FieldCodes("COMPANY_TITLE_REQUIRED"),
    "credential.name": FieldCodes("CREDENTIAL_NAME_REQUIRED"),
    "credential.ssh_key": FieldCodes("CREDENTIAL_SSH_KEY_REQUIRED"),
    "developer.email": FieldCodes("DEVELOPER_EMAIL_REQUIRED", "DEVELOPER_EMAIL_INVALID"),
    "developer.enabled": FieldCodes("DEVELOPER_ENABLED_REQUIRED"),
    "developer.github_username": FieldCodes("DEVELOPER_USERNAME_REQUIRED", "DEVELOPER_USERNAME_INVALID"),
    "developer.gitlab_username": FieldCodes("DEVELOPER_USERNAME_REQUIRED", "DEVELOPER_USERNAME_INVALID"),
    "developer.password": FieldCodes("DEVELOPER_PASSWORD_REQUIRED"),
    "developer.projects_id": FieldCodes("DEVELOPER_PROJECTS_ID_REQUIRED"),
    "developer.roles": FieldCodes("DEVELOPER_ROLES_REQUIRED", "DEVELOPER_ROLES_INVALID"),
    "developer.username": FieldCodes("DEVELOPER_USERNAME_REQUIRED", "DEVELOPER_USERNAME_INVALID"),
    "executor.driver": FieldCodes("EXECUTOR_DRIVER_REQUIRED", "EXECUTOR_DRIVER_INVALID"),
    "build.ref": FieldCodes(invalid="BUILD_REF_INVALID"),
    "build.variables": FieldCodes("BUILD_VARIABLES_INVALID", "BUILD_VARIABLES_INVALID"),
    "executor.name": FieldCodes("EXECUTOR_NAME_REQUIRED"),
    "project.alias": FieldCodes(invalid="PROJECT_ALIAS_INVALID"),
    "project.allow_concurrent_execution": FieldCodes("PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED"),
    "project.branch": FieldCodes("PROJECT_BRANCH_REQUIRED", "PROJECT_BRANCH_INVALID"),
    "project.developers_id": FieldCodes("PROJECT_DEVELOPERS_ID_REQUIRED"),
    "project.keep_number_build": FieldCodes(invalid="PROJECT_KEEP_NUMBER_BUILD_INVALID"),
    "project.name": FieldCodes("PROJECT_NAME_REQUIRED"),
    "project.repository": FieldCodes("PROJECT_REPOSITORY_REQUIRED", "PROJECT_REPOSITORY_INVALID"),
    "project.secrets_id": FieldCodes("PROJECT_SECRETS_ID_REQUIRED"),
    "project.spec_file_path": FieldCodes("PROJECT_SPEC_FILE_PATH_REQUIRED"),
    **dict.fromkeys(
        (f"{body}.{name}" for body in ("project", "retention") for name in RetentionLimits.model_fields),
        FieldCodes(invalid="PROJECT_RETENTION_INVALID"),
    ),
    **dict.fromkeys(
        (f"triggers.{name}" for name in BuildTriggers.model_fields), FieldCodes(invalid="PROJECT_TRIGGERS_INVALID")
    ),
    "project.visibility": FieldCodes("PROJECT_VISIBILITY_INVALID", "PROJECT_VISIBILITY_INVALID"),
    "forge.kind": FieldCodes("PROJECT_FORGE_INVALID", "PROJECT_FORGE_INVALID"),
    "identity.subject": FieldCodes("DEVELOPER_IDENTITY_INVALID", "DEVELOPER_IDENTITY_INVALID"),
    "member.role": FieldCodes("PROJECT_ROLE_INVALID", "PROJECT_ROLE_INVALID"),
    "mail_rule.builds": FieldCodes(invalid="MAIL_RULE_INVALID"),
    "mail_rule.events": FieldCodes(invalid="MAIL_RULE_INVALID"),
    "receiver.events": FieldCodes(invalid="RECEIVER_EVENTS_INVALID"),
    "receiver.kind": FieldCodes(invalid="RECEIVER_KIND_INVALID"),
    "receiver.secret": FieldCodes(invalid="RECEIVER_SECRET_INVALID"),
    "receiver.url": FieldCodes("RECEIVER_URL_REQUIRED", "RECEIVER_URL_INVALID"),
    "schedule.branch": FieldCodes(invalid="SCHEDULE_BRANCH_INVALID"),
    "schedule.cron": FieldCodes("SCHEDULE_CRON_REQUIRED", "SCHEDULE_CRON_INVALID"),
    "schedule.variables": FieldCodes(invalid="BUILD_VARIABLES_INVALID"),
    "schedule.zone": FieldCodes(invalid="SCHEDULE_ZONE_INVALID"),
    "secret.escape_char": FieldCodes("SECRET_ESCAPE_CHAR_REQUIRED"),
    "secret.name": FieldCodes("SECRET_NAME_REQUIRED", "SECRET_NAME_INVALID"),
    "secret.value": FieldCodes("SECRET_VALUE_REQUIRED"),
    "token.expires_at": FieldCodes(invalid="TOKEN_EXPIRES_AT_INVALID"),
    "token.name": FieldCodes("TOKEN_NAME_REQUIRED", "TOKEN_NAME_INVALID"),
    "token.scopes": FieldCodes(invalid="TOKEN_SCOPES_INVALID"),
    # fields of GitFlic's bodies
    "alias": FieldCodes("DEVELOPER_USERNAME_REQUIRED", "DEVELOPER_USERNAME_INVALID"),
    "email": FieldCodes("DEVELOPER_EMAIL_REQUIRED", "DEVELOPER_EMAIL_INVALID"),
    "expiresAt": FieldCodes(invalid="KEY_EXPIRES_AT_INVALID"),
    "password": FieldCodes("DEVELOPER_PASSWORD_REQUIRED"),
    "publicKey": FieldCodes("KEY_PUBLIC_KEY_REQUIRED", "KEY_PUBLIC_KEY_INVALID"),
    "title": FieldCodes("KEY_TITLE_REQUIRED"),
    "username": FieldCodes("DEVELOPER_USERNAME_REQUIRED", "DEVELOPER_USERNAME_INVALID"),
}
"""Codes by name of the header or field; a field of an envelope is `resource.field`. Other fields have DEFAULT_CODE."""


def find_code(location: Sequence[Any], error_type: str) -> str:
    """Return the code for a validation error at `location`, which begins with `body`, `query`, `path` or `header`."""
    codes = find_field_codes(location)
    return codes.required if error_type == "missing" else codes.invalid


def find_field_codes(location: Sequence[Any]) -> FieldCodes:
    within = [str(part) for part in location[1:]]
    names = (".".join(within[:2]), ".".join(within[:1]))
    return next((FIELD_CODES[name] for name in names if name in FIELD_CODES), FieldCodes())
