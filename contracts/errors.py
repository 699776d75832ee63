"""All error codes, with their HTTP status and meaning."""

from typing import NamedTuple

from contracts.messages import Message


class ErrorCode(NamedTuple):
    status: int
    summary: str


class Failure(Message):
    """The reply to a rejected or failed command or query. The gateway converts it to an HTTP response."""

    code: str
    status: int
    detail: str = ""
    retry_after: int | None = None  # seconds


CODES: dict[str, ErrorCode] = {
    # codes of the gateway, and of several services
    "UNAUTHORIZED": ErrorCode(401, "The username or password is wrong, or the token is missing."),
    "TOKEN_EXPIRED": ErrorCode(401, "The token has expired. Log in again."),
    "TOKEN_INVALID": ErrorCode(401, "The token is malformed, has an unknown signature or is no longer valid."),
    "SESSION_EXPIRED": ErrorCode(401, "The session can no longer be renewed. Sign in again."),
    "SESSION_CROSS_SITE": ErrorCode(
        403, "A request with a session cookie that changes something must come from a page of this server."
    ),
    "PASSWORD_WRONG": ErrorCode(422, "The current password is wrong."),
    "TOKEN_SCOPE": ErrorCode(403, "The personal token does not have the scope required by this route."),
    "FORBIDDEN": ErrorCode(403, "The token does not have the role required by this route."),
    "NOT_FOUND": ErrorCode(404, "There is no resource at this path."),
    "METHOD_NOT_ALLOWED": ErrorCode(405, "This path does not support the method."),
    "REQUEST_TOO_LARGE": ErrorCode(413, "The request body is larger than this route accepts."),
    "ANSWER_TOO_LARGE": ErrorCode(400, "The answer exceeds the message size limit. Request smaller pages."),
    "REQUEST_MALFORMED": ErrorCode(400, "The request body is not valid JSON, or the query string cannot be parsed."),
    "REQUEST_INVALID": ErrorCode(422, "A field is missing, has the wrong type or is out of range. See `detail`."),
    "IDEMPOTENCY_KEY_INVALID": ErrorCode(400, "An Idempotency-Key must have 1 to 255 printable ASCII characters."),
    "IDEMPOTENCY_KEY_REUSED": ErrorCode(422, "This Idempotency-Key was used for another request."),
    "TOO_MANY_REQUESTS": ErrorCode(429, "Too many requests or failed attempts. Wait for the seconds in `Retry-After`."),
    "CONFLICT": ErrorCode(409, "The resource was changed concurrently. Try again."),
    "SERVICE_UNAVAILABLE": ErrorCode(503, "The service behind this route is not available. Nothing was changed."),
    "SERVICE_TIMEOUT": ErrorCode(
        504, "The service behind this route did not reply in time. Retry with the same Idempotency-Key."
    ),
    "INTERNAL_SERVER_ERROR": ErrorCode(500, "Internal error. The server's log has the details under the trace id."),
    "PAGINATION_OPERATOR_INVALID": ErrorCode(422, "The filter operator is unknown."),
    "PAGINATION_FILTERS_INVALID": ErrorCode(422, "The filters have too many values."),
    "PAGINATION_CURSOR_INVALID": ErrorCode(422, "The list has no page that begins there. Start with the first page."),
    "PAGINATION_PAGE_INVALID": ErrorCode(422, "The page must be an integer."),
    "PAGINATION_PER_PAGE_INVALID": ErrorCode(422, "The number of rows per page must be an integer."),
    # codes of the identity service
    "DEVELOPER_NOT_FOUND": ErrorCode(404, "User not found."),
    "DEVELOPER_USERNAME_REQUIRED": ErrorCode(422, "The username is required."),
    "DEVELOPER_USERNAME_INVALID": ErrorCode(
        422,
        "A username must have 1 to 64 Latin letters, digits, dots, dashes or underscores, and not start with a dot or dash.",
    ),
    "DEVELOPER_USERNAME_TAKEN": ErrorCode(422, "Another user or a company has this name (case-insensitive)."),
    "DEVELOPER_PASSWORD_REQUIRED": ErrorCode(422, "The password is required."),
    "DEVELOPER_PASSWORD_WEAK": ErrorCode(422, "The password is too short, too common or contains the username."),
    "DEVELOPER_EMAIL_INVALID": ErrorCode(422, "The e-mail address is invalid."),
    "DEVELOPER_EMAIL_TAKEN": ErrorCode(422, "Another user has this e-mail address (case-insensitive)."),
    "DEVELOPER_ROLES_REQUIRED": ErrorCode(422, "The list of roles is required. It may be empty."),
    "DEVELOPER_ROLES_INVALID": ErrorCode(422, "A role must be ROLE_ADMIN or ROLE_DEVELOPER."),
    "DEVELOPER_ENABLED_REQUIRED": ErrorCode(422, "The field `enabled` must be true or false."),
    "DEVELOPER_PROJECTS_ID_REQUIRED": ErrorCode(422, "The list of projects is required. It may be empty."),
    "DEVELOPER_LAST_ADMINISTRATOR": ErrorCode(
        409, "The last enabled administrator cannot be disabled, demoted or deleted."
    ),
    "DEVELOPER_IDENTITY_INVALID": ErrorCode(422, "The subject must have at most 255 printable ASCII characters."),
    "DEVELOPER_IDENTITY_TAKEN": ErrorCode(422, "Another user is linked to this account."),
    "OIDC_DISABLED": ErrorCode(404, "No OpenID provider is configured."),
    "OIDC_PROVIDER_UNAVAILABLE": ErrorCode(503, "The OpenID provider gave no useful answer. See the server's log."),
    "OIDC_STATE_INVALID": ErrorCode(403, "The sign-in took too long, or began in another browser."),
    "OIDC_DENIED": ErrorCode(403, "The OpenID provider refused the sign-in."),
    "OIDC_RESPONSE_INVALID": ErrorCode(403, "The OpenID provider's response was not accepted. See the server's log."),
    "OIDC_USER_UNKNOWN": ErrorCode(403, "No user is linked to this account."),
    "OIDC_USER_DISABLED": ErrorCode(403, "The user is disabled."),
    "OIDC_USERNAME_INVALID": ErrorCode(403, "The account has no name that can be a username."),
    "OIDC_USERNAME_TAKEN": ErrorCode(403, "A user with the name of this account exists, but is not linked to it."),
    "OIDC_GROUP_REQUIRED": ErrorCode(403, "The account is in none of the groups that may sign in."),
    "PASSWORD_SIGN_IN_DISABLED": ErrorCode(403, "Sign-in to the console with a password is disabled."),
    "COMPANY_NOT_FOUND": ErrorCode(404, "Company not found."),
    "COMPANY_TITLE_REQUIRED": ErrorCode(422, "The title is required."),
    "COMPANY_ALIAS_INVALID": ErrorCode(
        422,
        "An alias must have 1 to 64 Latin letters, digits, dots, dashes or underscores, and not start with a dot or dash.",
    ),
    "COMPANY_ALIAS_TAKEN": ErrorCode(422, "Another company or a user has this name (case-insensitive)."),
    "COMPANY_PROJECTS_NOT_EMPTY": ErrorCode(409, "The company still owns projects."),
    "TOKEN_NOT_FOUND": ErrorCode(404, "Token not found."),
    "TOKEN_NAME_REQUIRED": ErrorCode(422, "The name of the token is required."),
    "TOKEN_NAME_INVALID": ErrorCode(422, "The name of a token must have at most 255 characters and none of { } $."),
    "TOKEN_EXPIRES_AT_INVALID": ErrorCode(
        422, "The expiry of a token must be a date such as 2030-12-31 that is not in the past."
    ),
    "TOKEN_SCOPES_INVALID": ErrorCode(422, "The scope is unknown."),
    "TOKEN_LIMIT": ErrorCode(409, "A user can have at most 100 tokens. Revoke one first."),
    "DEVELOPER_EMAIL_REQUIRED": ErrorCode(422, "The e-mail address is required."),
    "DEVELOPER_PASSWORDS_DIFFER": ErrorCode(422, "The password and its repetition differ."),
    "KEY_NOT_FOUND": ErrorCode(404, "SSH key not found."),
    "KEY_TITLE_REQUIRED": ErrorCode(422, "The title of the SSH key is required."),
    "KEY_PUBLIC_KEY_REQUIRED": ErrorCode(422, "The public key is required, as one line in authorized_keys format."),
    "KEY_PUBLIC_KEY_INVALID": ErrorCode(
        422, "The key is not a valid public SSH key of type ed25519, rsa, ecdsa, sk-ed25519 or sk-ecdsa."
    ),
    "KEY_PUBLIC_KEY_WEAK": ErrorCode(422, "DSA keys and RSA keys of less than 2048 bits are not accepted."),
    "KEY_PUBLIC_KEY_PRIVATE": ErrorCode(422, "This is a private key. It was not stored. Send the public key."),
    "KEY_PUBLIC_KEY_TAKEN": ErrorCode(422, "The key is already in use by this or another user."),
    "KEY_EXPIRES_AT_INVALID": ErrorCode(422, "The expiry must be a date such as 2030-12-31."),
    "KEY_EXPIRES_AT_PAST": ErrorCode(422, "The expiry of the key is in the past."),
    "KEY_LIMIT": ErrorCode(422, "The user has the maximum number of SSH keys. Remove one first."),
    # codes of the projects service
    "PROJECT_NOT_FOUND": ErrorCode(404, "Project not found."),
    "PROJECT_NAME_REQUIRED": ErrorCode(422, "The name of the project is required."),
    "PROJECT_REPOSITORY_REQUIRED": ErrorCode(422, "The URL of the git repository is required."),
    "PROJECT_REPOSITORY_INVALID": ErrorCode(
        422, "A repository must be an http(s), ssh or scp-like URL. Local paths must be enabled by the operator."
    ),
    "PROJECT_BRANCH_REQUIRED": ErrorCode(
        422, "The branch is required. * means the default branch, and any branch for pushes."
    ),
    "PROJECT_BRANCH_INVALID": ErrorCode(422, "The branch name is invalid."),
    "PROJECT_SPEC_FILE_PATH_REQUIRED": ErrorCode(422, "The path of the spec file is required."),
    "PROJECT_KEEP_NUMBER_BUILD_INVALID": ErrorCode(
        422, "The number of builds to keep must be a non-negative integer, or null for the limit of the server."
    ),
    "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED": ErrorCode(
        422, "The field for concurrent execution must be true or false."
    ),
    "PROJECT_DEVELOPERS_ID_REQUIRED": ErrorCode(422, "The list of developers is required. It may be empty."),
    "PROJECT_SECRETS_ID_REQUIRED": ErrorCode(422, "The list of secrets is required. It may be empty."),
    "PROJECT_RETENTION_INVALID": ErrorCode(
        422, "Days must be from 0 to 36,500 and numbers of builds from 0 to 1,000,000,000. 0: the server's setting."
    ),
    "PROJECT_VISIBILITY_INVALID": ErrorCode(422, "The visibility must be internal or private."),
    "PROJECT_FORGE_INVALID": ErrorCode(
        422, "The forge must be none, github, gitlab or gitea, with the name of a secret and an http(s) URL."
    ),
    "PROJECT_TRIGGERS_INVALID": ErrorCode(
        422, "Superseded builds must be keep, waiting or all, and pull requests none, branches or forks."
    ),
    "PROJECT_ROLE_INVALID": ErrorCode(422, "The role of a member must be reader, developer or maintainer."),
    "PROJECT_MEMBER_LIMIT": ErrorCode(409, "A project can have at most 1,000 members of each role."),
    "PROJECT_OWNER_INVALID": ErrorCode(422, "The owner must be the username of a user or the alias of a company."),
    "PROJECT_ALIAS_TAKEN": ErrorCode(422, "The owner has another project with this alias."),
    "PROJECT_ALIAS_INVALID": ErrorCode(
        422,
        "An alias must have 1 to 64 lower-case Latin letters, digits, dots, dashes or underscores, and not start with a dot or dash.",
    ),
    "SECRET_NOT_FOUND": ErrorCode(404, "Secret not found."),
    "SECRET_NAME_REQUIRED": ErrorCode(
        422, "The name of the secret is required. It is the name of the environment variable."
    ),
    "SECRET_NAME_INVALID": ErrorCode(
        422, "The name must consist of letters, digits and underscores, and not start with a digit."
    ),
    "SECRET_VALUE_REQUIRED": ErrorCode(422, "The value of the secret is required."),
    "SECRET_ESCAPE_CHAR_REQUIRED": ErrorCode(422, "The escaped characters are required. Use null for none."),
    "SECRET_PROJECTS_NOT_EMPTY": ErrorCode(409, "The secret is attached to a project. Detach it first."),
    "CREDENTIAL_NOT_FOUND": ErrorCode(404, "Credential not found."),
    "CREDENTIAL_NAME_REQUIRED": ErrorCode(422, "The name of the credential is required. It may be empty."),
    "CREDENTIAL_SSH_KEY_REQUIRED": ErrorCode(422, "The private SSH key is required."),
    "CREDENTIAL_IN_USE": ErrorCode(409, "The credential is used by a project."),
    "EXECUTOR_NOT_FOUND": ErrorCode(404, "Executor not found, or no queued or running build has this id."),
    "EXECUTOR_NAME_REQUIRED": ErrorCode(422, "The name of the executor is required."),
    "EXECUTOR_DRIVER_REQUIRED": ErrorCode(422, "The driver of the executor is required."),
    "EXECUTOR_DRIVER_INVALID": ErrorCode(422, "The driver must be localDriver or openStackDriver."),
    "EXECUTOR_IN_USE": ErrorCode(409, "The executor is used by a project."),
    "SCHEDULE_NOT_FOUND": ErrorCode(404, "Schedule not found."),
    "SCHEDULE_CRON_REQUIRED": ErrorCode(422, "The cron expression is required."),
    "SCHEDULE_CRON_INVALID": ErrorCode(
        422, "A cron expression must have five fields, such as `30 2 * * 1-5`, or be a macro such as `@daily`."
    ),
    "SCHEDULE_CRON_TOO_FREQUENT": ErrorCode(422, "The runs of a schedule must be at least five minutes apart."),
    "SCHEDULE_ZONE_INVALID": ErrorCode(422, "The time zone must be a name such as `UTC` or `Europe/Berlin`."),
    "SCHEDULE_BRANCH_INVALID": ErrorCode(422, "A schedule can build a branch, given by its name."),
    "SCHEDULE_LIMIT": ErrorCode(409, "A project can have at most 20 schedules. Delete one first."),
    "WEBHOOK_PROVIDER_NOT_SUPPORTED": ErrorCode(400, "The request has no headers of a GitHub or GitLab webhook."),
    "WEBHOOK_SIGNATURE_INVALID": ErrorCode(
        401, "The signature or token is missing or does not match the project's key."
    ),
    "WEBHOOK_PAYLOAD_INVALID": ErrorCode(400, "The body is not the JSON of a webhook of the forge."),
    "DELIVERY_NOT_FOUND": ErrorCode(404, "Webhook delivery not found, or its project was deleted."),
    "DELIVERY_STATUS": ErrorCode(409, "The delivery does not wait for approval, or the project builds no forks."),
    # codes of the builds service
    "BUILD_NOT_FOUND": ErrorCode(404, "Build not found."),
    "BUILD_PRIORITY_REQUIRED": ErrorCode(422, "The priority is required: an integer from -100 to 100."),
    "BUILD_PRIORITY_INVALID": ErrorCode(422, "The priority must be an integer from -100 to 100."),
    "BUILD_REF_INVALID": ErrorCode(422, "A build can be launched for the name of a branch."),
    "BUILD_VARIABLES_INVALID": ErrorCode(
        422, "A variable of the launch has an invalid name or value, or there are too many. See `detail`."
    ),
    "BUILD_VARIABLES_RESERVED": ErrorCode(
        422, "A variable of the launch has a reserved name, or that of a secret of the project. See `detail`."
    ),
    "BUILD_VARIABLES_NOT_ALLOWED": ErrorCode(
        403, "Only maintainers and owners of the project and administrators may set variables for a protected branch."
    ),
    "BUILD_STATUS": ErrorCode(409, "This is not possible in the current status of the build."),
    "JOB_NOT_FOUND": ErrorCode(404, "Job not found."),
    "JOB_STATUS": ErrorCode(409, "This is not possible in the current status of the job."),
    "JOB_STATUS_INVALID": ErrorCode(422, "The job status is unknown."),
    "JOB_TOKEN": ErrorCode(403, "The token does not belong to this job, or is no longer valid."),
    "LAUNCH_BUILD_NOT_ALLOWED": ErrorCode(
        403,
        "Only administrators, developers and maintainers of the project and its owners may launch its builds.",
    ),
    "ARTIFACT_NOT_FOUND": ErrorCode(404, "Artifact not found, or no longer available."),
    "ARTIFACT_STORE_UNAVAILABLE": ErrorCode(
        503, "The artifact store is unavailable or rejects this server's credentials. Nothing was lost. Try again."
    ),
    "ARTIFACT_TOO_LARGE": ErrorCode(413, "The artifact exceeds the size limit of this server."),
    "ARTIFACT_TOO_MANY": ErrorCode(413, "The job has the maximum number of artifacts and uploads."),
    "ARTIFACT_INCOMPLETE": ErrorCode(409, "The artifact is incomplete. Upload it again."),
    "ARTIFACT_EXPIRE_IN_INVALID": ErrorCode(422, "Invalid duration. Use a value such as `2 days`, or `never`."),
    "LOG_NOT_FOUND": ErrorCode(404, "The log has no further section."),
    "LOG_RANGE": ErrorCode(416, "The offset is not the end of the log. Continue at the offset in `Range`."),
    "LOG_CHECKSUM": ErrorCode(412, "The checksum of the log differs. Send the log again from the start."),
    # codes of the runners service
    "RUNNER_NOT_FOUND": ErrorCode(404, "Runner not found."),
    "RUNNER_TOKEN": ErrorCode(403, "The runner token is invalid."),
    "RUNNER_INVALID": ErrorCode(422, "A field of the runner has an invalid value."),
    "REGISTRATION_TOKEN": ErrorCode(403, "The registration token is invalid."),
    # codes of the notifications service
    "MAIL_RECIPIENT_INVALID": ErrorCode(422, "The e-mail address is invalid."),
    "MAIL_RULE_INVALID": ErrorCode(
        422, "The events must be failed, fixed, always or never, and the builds own or all."
    ),
    "RECEIVER_NOT_FOUND": ErrorCode(404, "Receiver of notifications not found."),
    "RECEIVER_KIND_INVALID": ErrorCode(422, "A receiver of notifications must be of the kind webhook or slack."),
    "RECEIVER_URL_REQUIRED": ErrorCode(422, "The URL of the receiver is required."),
    "RECEIVER_URL_INVALID": ErrorCode(422, "The URL must be an http(s) URL without a login and a fragment."),
    "RECEIVER_SECRET_INVALID": ErrorCode(
        422,
        "A webhook needs a secret of 16 to 255 printable ASCII characters, or `whsec_` and 24 to 64 bytes in base64. "
        "Chat messages have none.",
    ),
    "RECEIVER_EVENTS_INVALID": ErrorCode(
        422, "The events must be one or several of started, finished, failed and fixed."
    ),
    "RECEIVER_LIMIT": ErrorCode(409, "A project can have at most 20 receivers of notifications. Delete one first."),
    "OUTGOING_REQUEST_NOT_FOUND": ErrorCode(404, "Request to another server not found. Old ones are deleted."),
    "OUTGOING_REQUEST_STATUS": ErrorCode(409, "The request is still being sent or retried."),
    # codes of the event stream
    "EVENTS_EXPIRED": ErrorCode(
        410, "Events since this position are no longer stored. Load the current state, and start without a position."
    ),
    # codes of history queries
    "HISTORY_KIND_UNKNOWN": ErrorCode(404, "The kind is unknown. `detail` lists the kinds."),
    "HISTORY_NOT_FOUND": ErrorCode(
        404, "The object never existed, or not yet at that time, or its events were removed from the event log."
    ),
}


class RequestRejected(Exception):
    """A command or query was rejected, by a business rule or because a service failed.

    `code` is one of CODES and stable; `detail` is readable text; `retry_after` is in seconds.
    """

    def __init__(self, code: str, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after

    @property
    def failure(self) -> Failure:
        status, meaning = CODES[self.code]
        return Failure(code=self.code, status=status, detail=self.detail or meaning, retry_after=self.retry_after)
