"""Every error code a client can meet, with its status and its meaning in words."""

from typing import NamedTuple

from contracts.messages import Message


class ErrorCode(NamedTuple):
    status: int
    summary: str


class Failure(Message):
    """The answer when a command or query could not be done; the same shape crosses NATS and HTTP."""

    code: str
    status: int
    detail: str = ""
    retry_after: int | None = None  # seconds


CODES: dict[str, ErrorCode] = {
    # any route
    "UNAUTHORIZED": ErrorCode(401, "The user name or the password is wrong, or the token is missing."),
    "TOKEN_EXPIRED": ErrorCode(401, "The token's time is over; log in again."),
    "TOKEN_INVALID": ErrorCode(401, "The token is malformed, signed by somebody else or no longer valid."),
    "TOKEN_SCOPE": ErrorCode(403, "The personal token does not carry the scope that this route needs."),
    "FORBIDDEN": ErrorCode(403, "The token does not carry the role that this route needs."),
    "NOT_FOUND": ErrorCode(404, "There is nothing at this address."),
    "METHOD_NOT_ALLOWED": ErrorCode(405, "This address does not know this method."),
    "REQUEST_TOO_LARGE": ErrorCode(413, "The body is larger than this route accepts."),
    "ANSWER_TOO_LARGE": ErrorCode(400, "The answer is larger than a message may be; ask for smaller pages."),
    "REQUEST_MALFORMED": ErrorCode(400, "The body is not valid JSON, or the query cannot be read."),
    "REQUEST_INVALID": ErrorCode(
        422, "A field is missing, of the wrong type or out of its range; `detail` says which."
    ),
    "IDEMPOTENCY_KEY_INVALID": ErrorCode(400, "An Idempotency-Key is 1 to 255 printable characters of ASCII."),
    "IDEMPOTENCY_KEY_REUSED": ErrorCode(422, "This Idempotency-Key was used for another request."),
    "TOO_MANY_REQUESTS": ErrorCode(429, "Too many failed attempts; wait as long as `Retry-After` says."),
    "CONFLICT": ErrorCode(409, "Others changed the same thing at the same time, again and again; try again."),
    "SERVICE_UNAVAILABLE": ErrorCode(503, "The service behind this route is not running; nothing was done."),
    "SERVICE_TIMEOUT": ErrorCode(
        504, "The service behind this route did not answer in time; ask again with the same Idempotency-Key."
    ),
    "INTERNAL_SERVER_ERROR": ErrorCode(500, "A defect of the server; the trace id leads to its log."),
    "PAGINATION_OPERATOR_INVALID": ErrorCode(422, "A filter has no such operator."),
    "PAGINATION_FILTERS_INVALID": ErrorCode(422, "There are more values in the filters than a list is searched for."),
    "PAGINATION_PAGE_INVALID": ErrorCode(422, "The page is a whole number."),
    "PAGINATION_PER_PAGE_INVALID": ErrorCode(422, "The number of rows per page is a whole number."),
    # identity
    "DEVELOPER_NOT_FOUND": ErrorCode(404, "There is no such user."),
    "DEVELOPER_USERNAME_REQUIRED": ErrorCode(422, "A user needs a username."),
    "DEVELOPER_USERNAME_INVALID": ErrorCode(
        422, "A username is 1 to 64 Latin letters, digits, dots, dashes or underscores, and starts with no dot or dash."
    ),
    "DEVELOPER_USERNAME_TAKEN": ErrorCode(422, "Another user or a company has this name (case does not count)."),
    "DEVELOPER_PASSWORD_REQUIRED": ErrorCode(422, "A user needs a password."),
    "DEVELOPER_PASSWORD_WEAK": ErrorCode(422, "The password is too short, too common or contains the username."),
    "DEVELOPER_EMAIL_INVALID": ErrorCode(422, "This is not an e-mail address."),
    "DEVELOPER_EMAIL_TAKEN": ErrorCode(422, "Another user has this e-mail address (case does not count)."),
    "DEVELOPER_ROLES_REQUIRED": ErrorCode(422, "Send the list of roles; it may be empty."),
    "DEVELOPER_ROLES_INVALID": ErrorCode(422, "A role is ROLE_ADMIN or ROLE_DEVELOPER."),
    "DEVELOPER_ENABLED_REQUIRED": ErrorCode(422, "Say true or false."),
    "DEVELOPER_PROJECTS_ID_REQUIRED": ErrorCode(422, "Send the list of projects; it may be empty."),
    "DEVELOPER_LAST_ADMINISTRATOR": ErrorCode(
        409, "The last enabled administrator cannot be disabled, demoted or deleted."
    ),
    "COMPANY_NOT_FOUND": ErrorCode(404, "There is no such company."),
    "COMPANY_TITLE_REQUIRED": ErrorCode(422, "A company needs a title."),
    "COMPANY_ALIAS_INVALID": ErrorCode(
        422, "An alias is 1 to 64 Latin letters, digits, dots, dashes or underscores, and starts with no dot or dash."
    ),
    "COMPANY_ALIAS_TAKEN": ErrorCode(422, "Another company or a user has this name (case does not count)."),
    "COMPANY_PROJECTS_NOT_EMPTY": ErrorCode(409, "The company still owns projects."),
    "TOKEN_NOT_FOUND": ErrorCode(404, "The user has no such token."),
    "TOKEN_NAME_REQUIRED": ErrorCode(422, "A token needs a name."),
    "TOKEN_NAME_INVALID": ErrorCode(422, "The name of a token has at most 255 characters and none of { } $."),
    "TOKEN_EXPIRES_AT_INVALID": ErrorCode(422, "The last day of a token is a date like 2030-12-31, and not over yet."),
    "TOKEN_SCOPES_INVALID": ErrorCode(422, "There is no such scope."),
    "TOKEN_LIMIT": ErrorCode(409, "A user has at most 100 tokens; revoke one first."),
    "DEVELOPER_EMAIL_REQUIRED": ErrorCode(422, "This needs an e-mail address."),
    "DEVELOPER_PASSWORDS_DIFFER": ErrorCode(422, "The password and its repetition differ."),
    "KEY_NOT_FOUND": ErrorCode(404, "The user has no such SSH key."),
    "KEY_TITLE_REQUIRED": ErrorCode(422, "An SSH key needs a title."),
    "KEY_PUBLIC_KEY_REQUIRED": ErrorCode(422, "Send the public key, one line as in authorized_keys."),
    "KEY_PUBLIC_KEY_INVALID": ErrorCode(
        422, "This is no public SSH key of type ed25519, rsa, ecdsa, sk-ed25519 or sk-ecdsa, or it is damaged."
    ),
    "KEY_PUBLIC_KEY_WEAK": ErrorCode(422, "Keys of type DSA, and RSA keys of less than 2048 bits, are not accepted."),
    "KEY_PUBLIC_KEY_PRIVATE": ErrorCode(422, "This is a private key; it was not kept. Send the public one."),
    "KEY_PUBLIC_KEY_TAKEN": ErrorCode(422, "This key is already in use, by this user or another one."),
    "KEY_EXPIRES_AT_INVALID": ErrorCode(422, "This is not a date; write 2030-12-31."),
    "KEY_EXPIRES_AT_PAST": ErrorCode(422, "The last day of the key lies in the past."),
    "KEY_LIMIT": ErrorCode(422, "The user has as many SSH keys as one can have."),
    # projects
    "PROJECT_NOT_FOUND": ErrorCode(404, "There is no such project."),
    "PROJECT_NAME_REQUIRED": ErrorCode(422, "A project needs a name."),
    "PROJECT_REPOSITORY_REQUIRED": ErrorCode(422, "A project needs the address of its git repository."),
    "PROJECT_REPOSITORY_INVALID": ErrorCode(
        422, "A repository is an http(s), ssh or scp-like address (local paths only where they are allowed)."
    ),
    "PROJECT_BRANCH_REQUIRED": ErrorCode(422, "A project needs a branch; * means the default branch, and any push."),
    "PROJECT_BRANCH_INVALID": ErrorCode(422, "This is not a valid branch name."),
    "PROJECT_SPEC_FILE_PATH_REQUIRED": ErrorCode(422, "A project needs the path of its spec file."),
    "PROJECT_KEEP_NUMBER_BUILD_INVALID": ErrorCode(422, "A whole number from 0, or nothing to keep all builds."),
    "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED": ErrorCode(422, "Say whether builds may run at the same time."),
    "PROJECT_DEVELOPERS_ID_REQUIRED": ErrorCode(422, "Send the list of developers; it may be empty."),
    "PROJECT_SECRETS_ID_REQUIRED": ErrorCode(422, "Send the list of secrets; it may be empty."),
    "PROJECT_OWNER_INVALID": ErrorCode(422, "The owner is the username of a user or the alias of a company."),
    "PROJECT_ALIAS_TAKEN": ErrorCode(422, "The owner has another project with this alias."),
    "PROJECT_ALIAS_INVALID": ErrorCode(
        422,
        "An alias is 1 to 64 lower-case Latin letters, digits, dots, dashes or underscores, and starts with no dot or dash.",
    ),
    "SECRET_NOT_FOUND": ErrorCode(404, "There is no such secret."),
    "SECRET_NAME_REQUIRED": ErrorCode(422, "A secret needs a name: that of its environment variable."),
    "SECRET_NAME_INVALID": ErrorCode(
        422, "The name of an environment variable is letters, digits and underscores, and starts with no digit."
    ),
    "SECRET_VALUE_REQUIRED": ErrorCode(422, "A secret needs a value."),
    "SECRET_ESCAPE_CHAR_REQUIRED": ErrorCode(422, "Send the characters; null means none."),
    "SECRET_PROJECTS_NOT_EMPTY": ErrorCode(409, "The secret is still attached to a project."),
    "CREDENTIAL_NOT_FOUND": ErrorCode(404, "There is no such credential."),
    "CREDENTIAL_NAME_REQUIRED": ErrorCode(422, "A credential needs a name; an empty text is one."),
    "CREDENTIAL_SSH_KEY_REQUIRED": ErrorCode(422, "A credential needs a private SSH key."),
    "CREDENTIAL_IN_USE": ErrorCode(409, "A project uses this credential."),
    "EXECUTOR_NOT_FOUND": ErrorCode(404, "There is no such executor, or no queued or running build with this id."),
    "EXECUTOR_NAME_REQUIRED": ErrorCode(422, "An executor needs a name."),
    "EXECUTOR_DRIVER_REQUIRED": ErrorCode(422, "An executor needs a driver."),
    "EXECUTOR_DRIVER_INVALID": ErrorCode(422, "A driver is localDriver or openStackDriver."),
    "EXECUTOR_IN_USE": ErrorCode(409, "A project uses this executor."),
    "WEBHOOK_PROVIDER_NOT_SUPPORTED": ErrorCode(400, "A webhook is GitHub's or GitLab's, and its headers say so."),
    "WEBHOOK_SIGNATURE_INVALID": ErrorCode(
        401, "The signature or token is missing, or not made with the project's key."
    ),
    "WEBHOOK_PAYLOAD_INVALID": ErrorCode(400, "The body is not the JSON that the forge sends."),
    "DELIVERY_NOT_FOUND": ErrorCode(404, "There is no such delivery of a webhook, or its project is gone."),
    # builds
    "BUILD_NOT_FOUND": ErrorCode(404, "There is no such build."),
    "BUILD_PRIORITY_REQUIRED": ErrorCode(422, "Send the priority, a whole number from -100 to 100."),
    "BUILD_PRIORITY_INVALID": ErrorCode(422, "A priority is a whole number from -100 to 100."),
    "BUILD_STATUS": ErrorCode(409, "The build is not in a state in which this is possible."),
    "JOB_NOT_FOUND": ErrorCode(404, "There is no such job."),
    "JOB_STATUS": ErrorCode(409, "The job is not in a state in which this is possible."),
    "JOB_STATUS_INVALID": ErrorCode(422, "This is not the status of a job."),
    "JOB_TOKEN": ErrorCode(403, "This token does not speak for this job, or no longer."),
    "LAUNCH_BUILD_NOT_ALLOWED": ErrorCode(
        403,
        "Only an administrator, a developer of the project or a member of the company that owns it may launch its builds.",
    ),
    "ARTIFACT_NOT_FOUND": ErrorCode(404, "The job has no such artifact, or no longer."),
    "ARTIFACT_STORE_UNAVAILABLE": ErrorCode(
        503, "The store of artifacts does not answer or refuses this server; nothing is lost, try again."
    ),
    "ARTIFACT_TOO_LARGE": ErrorCode(413, "The artifact is larger than this server takes."),
    "ARTIFACT_TOO_MANY": ErrorCode(413, "The job has as many artifacts and uploads under way as a job may have."),
    "ARTIFACT_INCOMPLETE": ErrorCode(409, "Not all of the artifact has arrived; send it again."),
    "ARTIFACT_EXPIRE_IN_INVALID": ErrorCode(
        422, "This is no length of time; an artifact expires in `2 days`, or `never`."
    ),
    "LOG_NOT_FOUND": ErrorCode(404, "There is no further section in this log."),
    "LOG_RANGE": ErrorCode(416, "The log does not continue at this offset; `Range` says where it does."),
    "LOG_CHECKSUM": ErrorCode(412, "The log that arrived is not the log that was sent; send it again from the start."),
    # runners
    "RUNNER_NOT_FOUND": ErrorCode(404, "There is no such runner."),
    "RUNNER_TOKEN": ErrorCode(403, "This token belongs to no runner."),
    "RUNNER_INVALID": ErrorCode(422, "A field of the runner has a value that it cannot take."),
    "REGISTRATION_TOKEN": ErrorCode(403, "This registration token is not valid."),
    # notifications
    "MAIL_RECIPIENT_INVALID": ErrorCode(422, "This is not an e-mail address."),
    # history
    "HISTORY_KIND_UNKNOWN": ErrorCode(404, "There are no things of this kind; `detail` names the kinds."),
    "HISTORY_NOT_FOUND": ErrorCode(404, "There never was such a thing, or not yet at that time."),
}


class RequestRejected(Exception):
    """A rule said no, or an answer from another service did. The code is stable; the detail is in words."""

    def __init__(self, code: str, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after

    @property
    def failure(self) -> Failure:
        status, meaning = CODES[self.code]
        return Failure(code=self.code, status=status, detail=self.detail or meaning, retry_after=self.retry_after)
