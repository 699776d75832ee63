"""What the fields of events mean: the comments beside them in the contracts, and for the rest their names."""

import ast
import re
import tokenize
from inspect import getsource
from io import StringIO

from contracts.messages import Message, Payload

JSON_LITERALS = {"None": "null", "True": "true", "False": "false"}
PYTHON_LITERAL = re.compile(rf"\b({'|'.join(JSON_LITERALS)})\b")
DESCRIPTIONS = {
    "active": "false: it gets no new jobs",
    "after_commands": "lines that run after the script, however it ended",
    "alias": "name in addresses",
    "allow_concurrent_execution": "whether builds of the project may run at the same time",
    "allow_failure": "the build goes on where it fails",
    "anchor": "whoever holds the highest one is an enabled administrator",
    "architecture": "as the runner says it: amd64, arm64",
    "artifact_format": "`zip`, `gzip` or `raw`",
    "artifact_id": "UUID",
    "artifact_type": "`archive`, `junit` and so on; a job has one of each",
    "attached": "secrets that the project has from now on",
    "attempt": "from 1; a job that was lost or is tried again counts on",
    "available_steps": "names with their `@`; none for a pipeline",
    "before_sha": "commit that the ref named before the push; empty: none",
    "branch": "`*`: the repository's default branch",
    "build_id": "number of the build, as in its stream",
    "build_local_id": "number of the build inside its project",
    "company_id": "number of the company",
    "container": "what the spec file says of the image beyond its name",
    "credential_id": "number of the credential",
    "default_branch": "the repository's own; empty where it is not known",
    "delivery_id": "UUID of the webhook's delivery; null: a person or a script asked for it",
    "description": "for people",
    "detached": "secrets that the project has no longer",
    "developer_id": "number of the user",
    "developers_id": "numbers of users",
    "digest": "SHA-256 of the body, in hexadecimal",
    "driver": "`localDriver` or `openStackDriver`",
    "ended": "jobs that are over, and how",
    "entrypoint": "in the place of the image's own",
    "env": "a label",
    "epoch": "tokens of an earlier one are refused from now on",
    "escape_char": "characters separated by commas",
    "event": "as the forge calls it",
    "executor": "as the runner says it: shell, docker",
    "executor_id": "UUID of the build, as Free Commit's routes name it",
    "exit_code": "0 for success",
    "exit_message": "in words; null for success",
    "expire_at": "null: it goes with its build",
    "expire_in": "text like `2 days`; null: they stay as long as the build",
    "file_name": "as the runner sent it",
    "finished_at": "by the runner's log, to the second",
    "forge_id": "the forge's own id of the delivery; empty: it gave none",
    "former_alias": "free for others from now on",
    "former_username": "free for others from now on",
    "held_lane": "the project's next build may begin",
    "ignore_steps": "names with their `@`",
    "image": "a container's; null: the runner decides",
    "info": "what the runner says of itself",
    "initiator_id": "number of the user who launched it; 0: nobody known",
    "initiator_name": "as it was at launch",
    "job_id": "number of the job, as in its stream",
    "job_ids": "numbers of the jobs that are meant",
    "job_name": "as the spec file calls it",
    "job_uuid": "UUID of the job, as GitFlic's routes name it",
    "joined": "projects whose developer the user became",
    "keep_number_build": "so many of the newest finished builds stay; null keeps all",
    "key_uuid": "UUID of the SSH key",
    "kind": "what it is about: a failed build, or a test",
    "left": "projects whose developer the user is no longer",
    "link": "path below the server's own address; empty: none",
    "local_id": "number inside the project",
    "locked": "true: stays with its project",
    "max_attempts": "of each job, counting those whose runner was lost",
    "members_id": "numbers of users, who own its projects together",
    "message": "in words, for people",
    "name": "for people",
    "notification_id": "UUID",
    "output": "last words about it, not the log",
    "owner_alias": "username of a user or alias of a company",
    "owner_id": "number of the project or company; null for GLOBAL",
    "owner_type": "`GLOBAL`: for all projects, `COMPANY` or `PROJECT`: for those of its owner",
    "platform": "as the runner says it: linux, darwin",
    "priority": "-100 to 100, usually 0; higher ones go first",
    "project": "its settings, frozen at launch",
    "project_id": "number of the project",
    "project_name": "as it was at launch",
    "projects_id": "numbers of projects",
    "protected": "whether the branch is a protected one",
    "protected_branches": "names and patterns like `release/*`",
    "queued_at": "when it was launched",
    "reason": "in words, or a stable word where programs ask for it",
    "ref": "`refs/heads/...` or `refs/tags/...`",
    "repository": "an address for git, without a login",
    "retried": "true: it is offered once more",
    "roles": "of ROLE_ADMIN and ROLE_DEVELOPER",
    "run_untagged": "takes jobs without tags",
    "runner_id": "number of the runner, as GitLab's protocol names it",
    "runner_name": "as it was then",
    "runner_uuid": "UUID of the runner, as in its stream",
    "scope": "`service`, `company-<number>` or `project-<number>`",
    "secret_id": "number of the secret",
    "secrets_id": "numbers of secrets",
    "services": "containers that stand beside the job's",
    "sha": "the commit",
    "size": "bytes",
    "skipped": "it was to be ignored",
    "spec_file_path": "from the root of the repository",
    "stage": "jobs of a stage run together",
    "started_at": "by the runner's log, to the second; null: it did not say",
    "step": "name of the section, without an `@`",
    "steps": "scripts in their order",
    "success": "false: the job failed in it",
    "tags": "it takes jobs all of whose tags are among these",
    "timed_out": "it took longer than its own limit",
    "timeout_seconds": "that it may take",
    "title": "for people",
    "token_hash": "SHA-256 of the token, in hexadecimal",
    "token_id": "number of the token",
    "token_uuid": "UUID of the token",
    "user_id": "number of the user",
    "user_uuid": "UUID of the user, as GitFlic's routes name it",
    "username": "unique without regard to case",
    "version": "as the runner says it",
    "when": "kept after which end of the job",
    # in one message
    "BuildFinished.status": "SUCCESS, FAILED or KILLED",
    "BuildPlanned.message": "of the commit",
    "BuildPlanned.jobs": "all of them; those that need not wait are queued at once",
    "BuildQueued.source": "push, web (after a log-in) or api (with a personal token)",
    "BuildQueued.timeout_seconds": "that each of its jobs may take",
    "DeliveryIgnored.code": "why: WEBHOOK_BRANCH_IGNORED, WEBHOOK_SENDER_UNKNOWN and others",
    "DeliveryIgnored.user_id": "number of the user; null: nobody here has the sender's name",
    "DeliveryRefused.code": "why: WEBHOOK_SIGNATURE_INVALID and others",
    "ExecutorCreated.executor_id": "number of the executor",
    "ExecutorDeleted.executor_id": "number of the executor",
    "ExecutorRenamed.executor_id": "number of the executor",
    "ExecutorVariablesChanged.executor_id": "number of the executor",
    "JobFinished.reason": "a stable word: script_failure, job_execution_timeout, canceled, ...; empty for success",
    "JobFinished.status": "SUCCESS, FAILED or CANCELED",
    "JobLost.reason": "in words: its runner was silent, is gone, or gave it back",
    "JobQueued.job": "what is to be done",
    "JobRetried.reason": "a stable word: script_failure, job_execution_timeout, ...",
    "JobStatusChange.status": "where it stands from now on",
    "NotificationRequested.text": "what the mail says",
    "NotificationRequested.user_id": "number of the user; null: only the address is known",
    "PlannedJob.name": "as the spec file calls it",
    "PlannedJob.retry_codes": "it is tried again only after these exit codes",
    "PlannedJob.retry_when": "it is tried again only after these reasons",
    "PlannedJob.tags": "it needs a runner that has all of these",
    "PlannedJob.when": "how the jobs before it must have ended; `manual`: when somebody plays it",
    "PlannedStep.name": "with its `@`",
    "PlannedVariable.key": "name of the environment variable",
    "ProjectCreated.company_id": "number of the company that owns it; null: a user does",
    "ProjectCreated.credential_id": "number of the credential; null: none",
    "ProjectCreated.executor_id": "number of the executor; null: none",
    "ProjectCredentialChosen.credential_id": "number of the credential; null: none",
    "ProjectExecutorChosen.executor_id": "number of the executor",
    "ProjectMoved.company_id": "number of the company that owns it; null: a user does",
    "SecretCreated.name": "the name of the environment variable",
    "RunnerEdited.protected": "true: takes only jobs of protected branches",
    "RunnerRegistered.protected": "true: takes only jobs of protected branches",
    "SecretRenamed.name": "the name of the environment variable",
    "SshKeyAdded.expires_at": "last day on which it is good, YYYY-MM-DD; null: no end",
}


def get_field_descriptions(message: type[Message]) -> dict[str, str]:
    """Of its fields; those that explain themselves have none."""
    beside = read_field_comments(message)
    own = {name: DESCRIPTIONS.get(f"{message.wire_name}.{name}", "") for name in message.model_fields}
    by_name = {name: DESCRIPTIONS.get(name, "") for name in message.model_fields}
    found = {name: own[name] or beside.get(name) or by_name[name] for name in message.model_fields}
    return {
        name: PYTHON_LITERAL.sub(lambda word: JSON_LITERALS[word[0]], words) for name, words in found.items() if words
    }


def read_field_comments(message: type[Message]) -> dict[str, str]:
    """What stands behind its fields in the source, with those that it inherits, in JSON's words."""
    found: dict[str, str] = {}
    for one in reversed(message.__mro__):
        if issubclass(one, Message) and one is not Message:
            source = getsource(one)
            tokens = tokenize.generate_tokens(StringIO(source).readline)
            behind = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno in behind:
                    found[node.target.id] = behind[node.end_lineno].lstrip("# ")
    return found


def with_field_descriptions(message: type[Message], schema: Payload) -> Payload:
    """The schema of an object with what its fields mean; what it says itself stays."""
    known = get_field_descriptions(message)
    fields = {
        field: {"description": known[field], **one} if field in known else one
        for field, one in schema.get("properties", {}).items()
    }
    return {**schema, "properties": fields} if fields else schema
