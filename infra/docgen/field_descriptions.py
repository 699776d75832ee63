"""Descriptions of message fields.

Order of precedence: the text in this module for the field of one message, the comment beside the field in the contract,
the text in this module for all fields of that name.
"""

import ast
import re
import tokenize
from inspect import getsource
from io import StringIO

from contracts.messages import Message, Payload

JSON_LITERALS = {"None": "null", "True": "true", "False": "false"}
PYTHON_LITERAL = re.compile(rf"\b({'|'.join(JSON_LITERALS)})\b")
DESCRIPTIONS = {
    "active": "false: the runner receives no new jobs",
    "after_commands": "lines that run after the script, whatever its result",
    "alias": "name in URLs",
    "allow_concurrent_execution": "whether builds of the project can run at the same time",
    "allow_failure": "whether the build continues if it fails",
    "anchor": "the user with the highest value is an enabled administrator",
    "architecture": "as reported by the runner: amd64, arm64",
    "artifact_format": "`zip`, `gzip` or `raw`",
    "artifact_id": "UUID",
    "artifact_type": "`archive`, `junit` and so on; a job has at most one of each",
    "attached": "secrets that are now available to the project",
    "attempt": "from 1; increases when a job is lost or retried",
    "available_steps": "names with `@`; null for a pipeline",
    "before_sha": "commit of the ref before the push; empty: none",
    "branch": "`*`: the repository's default branch",
    "build_id": "number of the build, as in its stream",
    "company_id": "number of the company",
    "credential_id": "number of the credential",
    "cron": "cron expression: minute, hour, day of month, month, day of week",
    "default_branch": "default branch of the repository; empty if unknown",
    "delivery_id": "UUID of the webhook delivery; null: launched by a user",
    "description": "free text",
    "detached": "secrets that are no longer available to the project",
    "developer_id": "number of the user",
    "developers_id": "numbers of users",
    "digest": "SHA-256 of the body, in hexadecimal",
    "driver": "`localDriver` or `openStackDriver`",
    "ended": "finished jobs and their results",
    "entrypoint": "replaces the entry point of the image",
    "env": "a label",
    "epoch": "tokens with a lower epoch are rejected",
    "escape_char": "characters separated by commas",
    "event": "name of the event at the forge",
    "executor": "as reported by the runner: shell, docker",
    "executor_id": "UUID of the build, as in Free Commit's routes",
    "exit_code": "0 for success",
    "exit_message": "explanation; null for success",
    "expire_at": "null: deleted with its build, or earlier by the limits of retention",
    "expire_in": "duration such as `2 days`; null: as long as the build",
    "file_name": "as sent by the runner",
    "finished_at": "from the runner's log, in seconds",
    "forge_api_url": "URL of the forge's API; empty: derived from the repository's URL",
    "forge_id": "delivery id of the forge; empty: none",
    "forge_kind": "`none`, `github`, `gitlab` or `gitea`: where the results of builds are reported",
    "forge_secret": "name of the project's secret with the token for the forge",
    "former_alias": "can be used by others from now on",
    "former_username": "can be used by others from now on",
    "held_lane": "true: the next build of the project can start",
    "ignore_steps": "names with `@`",
    "image": "container image; null: the runner's default",
    "info": "information reported by the runner",
    "initiator_id": "number of the user who launched it; 0: unknown",
    "initiator_name": "name at the time of the launch",
    "job_id": "number of the job, as in its stream",
    "job_ids": "numbers of the affected jobs",
    "job_name": "name in the spec file",
    "job_uuid": "UUID of the job, as in GitFlic's routes",
    "joined": "projects that the user can now launch",
    "keep_artifact_days": "days until artifacts are removed; 0: the server's setting",
    "keep_build_days": "days until finished builds are deleted; 0: the server's setting",
    "keep_log_days": "days until logs are removed; 0: the server's setting",
    "keep_number_artifact": "number of finished builds with artifacts; 0: the server's setting",
    "keep_number_build": "number of finished builds to keep; null: the server's setting",
    "keep_number_log": "number of finished builds with logs; 0: the server's setting",
    "key_uuid": "UUID of the SSH key",
    "kind": "reason of the mail: a failed build, or a test",
    "left": "projects that the user can no longer launch",
    "link": "path below the server's URL; empty: none",
    "local_id": "number within the project",
    "locked": "true: serves only its own project",
    "maintainers_id": "numbers of the users with the role `maintainer`",
    "max_attempts": "of each job, including lost ones",
    "members_id": "numbers of the users who own its projects together",
    "message": "text for users",
    "name": "display name",
    "notification_id": "UUID",
    "output": "explanation of the result, not the log",
    "owner_alias": "username of a user or alias of a company",
    "owner_id": "number of the project or company; null for GLOBAL",
    "owner_type": "`GLOBAL`: serves all projects; `COMPANY` or `PROJECT`: serves those of its owner",
    "platform": "as reported by the runner: linux, darwin",
    "priority": "-100 to 100, default 0; higher values run first",
    "project": "settings at the time of the launch",
    "project_id": "number of the project",
    "project_name": "name at the time of the launch",
    "projects_id": "numbers of projects",
    "protected": "whether the branch is protected",
    "protected_branches": "names and patterns such as `release/*`",
    "queued_at": "time of the launch",
    "readers_id": "numbers of the users with the role `reader`",
    "reason": "explanation, or a stable keyword where programs need it",
    "ref": "`refs/heads/...` or `refs/tags/...`",
    "receiver_id": "number of the receiver; null: none",
    "reports": "files whose content the server reads",
    "repository": "git URL without a login",
    "request_id": "UUID",
    "retried": "true: the job is queued again",
    "roles": "ROLE_ADMIN, ROLE_DEVELOPER",
    "run_untagged": "true: accepts jobs without tags",
    "runner_id": "number of the runner, as in GitLab's protocol",
    "runner_name": "name at that time",
    "runner_uuid": "UUID of the runner, as in its stream",
    "schedule_id": "number of the schedule",
    "scope": "`service`, `company-<number>` or `project-<number>`",
    "secret_id": "number of the secret",
    "secrets_id": "numbers of secrets",
    "server": "scheme, host and port of the URL",
    "services": "additional containers of the job",
    "sha": "commit",
    "size": "bytes",
    "skipped": "true: excluded by `ignore_steps`",
    "spec_file_path": "path from the root of the repository",
    "stage": "jobs of a stage run in parallel",
    "started_at": "from the runner's log, in seconds; null: not reported",
    "step": "name of the section, without `@`",
    "steps": "scripts in their order",
    "success": "false: the job failed in this step",
    "tags": "the runner accepts jobs whose tags are all in this list",
    "timed_out": "true: it exceeded its own timeout",
    "timeout_seconds": "maximum duration",
    "title": "text for users",
    "token_hash": "SHA-256 of the token, in hexadecimal",
    "token_id": "number of the token",
    "token_uuid": "UUID of the token",
    "user_id": "number of the user",
    "user_uuid": "UUID of the user, as in GitFlic's routes",
    "username": "unique regardless of case",
    "version": "as reported by the runner",
    "visibility": "`internal`: all users see the project; `private`: only its members",
    "when": "results of the job after which the artifact is kept",
    "zone": "time zone of the cron expression, such as Europe/Berlin",
    # for the fields of one message
    "Owner.kind": "user or company",
    "BuildFinished.status": "SUCCESS, FAILED or KILLED",
    "BuildPlanned.message": "commit message",
    "BuildPlanned.jobs": "all jobs; those without dependencies are queued at once",
    "BuildQueued.source": "push, web (after signing in) or api (with a personal access token)",
    "BuildQueued.timeout_seconds": "maximum duration of each of its jobs",
    "DeliveryIgnored.code": "reason: WEBHOOK_BRANCH_IGNORED, WEBHOOK_SENDER_UNKNOWN and others",
    "DeliveryIgnored.user_id": "number of the user; null: no user has the sender's name",
    "DeliveryRefused.code": "reason: WEBHOOK_SIGNATURE_INVALID and others",
    "ExecutorCreated.executor_id": "number of the executor",
    "ExecutorDeleted.executor_id": "number of the executor",
    "ExecutorRenamed.executor_id": "number of the executor",
    "ExecutorVariablesChanged.executor_id": "number of the executor",
    "JobFinished.reason": "stable keyword: script_failure, job_execution_timeout, canceled, ...; empty for success",
    "JobFinished.status": "SUCCESS, FAILED or CANCELED",
    "JobLost.reason": "explanation: the runner stopped responding, was deleted, or returned the job",
    "JobQueued.job": "definition of the job",
    "JobRetried.reason": "stable keyword: script_failure, job_execution_timeout, ...",
    "JobStatusChange.status": "new status",
    "LaunchSchedule.id": "number of the schedule",
    "LaunchVariable.name": "name of the environment variable",
    "LaunchVariable.value": "not secret",
    "MailRuleChanged.builds": "`own` or `all`",
    "MailRuleChanged.events": "`failed`, `fixed`, `always` or `never`",
    "NotificationRequested.text": "body of the mail",
    "NotificationRequested.user_id": "number of the user; null: only the address is known",
    "OutgoingEnded.status": "`sent`, `skipped` or `gave_up`",
    "OutgoingRequested.event": "`started` or `finished`, for a receiver",
    "OutgoingRequested.event_id": "UUID, as in the CloudEvent",
    "OutgoingRequested.is_fix": "true: success after a failure on the same branch",
    "OutgoingRequested.kind": "`commit_status`, `webhook` or `slack`; a later release may add others",
    "OutgoingRequested.state": "`pending`, `running`, `success`, `failure` or `canceled`",
    "OutgoingRequested.target": "`github`, `gitlab` or `gitea`; for a receiver, its server",
    "ReceiverCreated.events": "`started`, `finished`, `failed`, `fixed`",
    "PlannedJob.name": "name in the spec file",
    "PlannedJob.retry_codes": "retried only after these exit codes",
    "PlannedJob.retry_when": "retried only after these reasons",
    "PlannedJob.tags": "the runner needs all of these",
    "PlannedJob.when": "required result of the jobs before it; `manual`: starts when a user plays it",
    "PlannedStep.name": "with `@`",
    "PlannedVariable.key": "name of the environment variable",
    "ProjectCreated.company_id": "number of the owning company; null: owned by a user",
    "ProjectCreated.credential_id": "number of the credential; null: none",
    "ProjectCreated.executor_id": "number of the executor; null: none",
    "ProjectCredentialChosen.credential_id": "number of the credential; null: none",
    "ProjectExecutorChosen.executor_id": "number of the executor",
    "ProjectMoved.company_id": "number of the owning company; null: owned by a user",
    "SecretCreated.name": "name of the environment variable",
    "RunnerEdited.protected": "true: accepts only jobs of protected branches",
    "RunnerRegistered.protected": "true: accepts only jobs of protected branches",
    "SecretRenamed.name": "name of the environment variable",
    "SshKeyAdded.expires_at": "last valid day, YYYY-MM-DD; null: never expires",
}


def get_field_descriptions(message: type[Message]) -> dict[str, str]:
    """Return the descriptions by field. Fields that explain themselves have none."""
    comments = read_field_comments(message)
    own = {name: DESCRIPTIONS.get(f"{message.wire_name}.{name}", "") for name in message.model_fields}
    by_name = {name: DESCRIPTIONS.get(name, "") for name in message.model_fields}
    texts = {name: own[name] or comments.get(name) or by_name[name] for name in message.model_fields}
    return {
        name: PYTHON_LITERAL.sub(lambda match: JSON_LITERALS[match[0]], text) for name, text in texts.items() if text
    }


def read_field_comments(message: type[Message]) -> dict[str, str]:
    """Return the comment at the end of each field's line in the source, for inherited fields too."""
    texts: dict[str, str] = {}
    for ancestor in reversed(message.__mro__):
        if issubclass(ancestor, Message) and ancestor is not Message:
            source = getsource(ancestor)
            tokens = tokenize.generate_tokens(StringIO(source).readline)
            trailing = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
            for node in ast.walk(ast.parse(source)):
                if (
                    isinstance(node, ast.AnnAssign)
                    and isinstance(node.target, ast.Name)
                    and node.end_lineno in trailing
                ):
                    texts[node.target.id] = trailing[node.end_lineno].lstrip("# ")
    return texts


def with_field_descriptions(message: type[Message], schema: Payload) -> Payload:
    """Add descriptions to the properties of a JSON schema, except to properties that have one."""
    descriptions = get_field_descriptions(message)
    fields = {
        name: {"description": descriptions[name], **field} if name in descriptions else field
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": fields} if fields else schema
