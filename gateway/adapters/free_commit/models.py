"""Free Commit's API: the fields that clients send, and the response models."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import TypedDict  # pydantic rejects typing.TypedDict before Python 3.12

from contracts.errors import RequestRejected
from gateway.auth import PERSONAL_TOKEN, read_token
from gateway.context import RequestContext
from gateway.framework.fields import MAX_ID, boolean, integer, integers, scalar, text, texts
from gateway.framework.route_table import body
from gateway.framework.serializers import Moment, Shape, as_it_is, echoed, row, shaped
from libs.security.masking import MIN_VALUE_LENGTH, is_maskable

NOT_MASKED_DETAIL = f"The value has fewer than {MIN_VALUE_LENGTH} characters, so it is not masked in logs."

# ---- request fields

LOGIN = body("auth", username=text.otherwise("").must(), password=text.otherwise("").must())
LAUNCH = body("build", ignore_steps=texts.otherwise(()))
PROJECT = body(
    "project",
    name=text,
    description=text,
    repository=text,
    branch=text,
    spec_file_path=text,
    keep_number_build=integer,
    allow_concurrent_execution=boolean,
    executor_id=integer.must(),
    credential_id=integer.called("repository_credential_id"),
    developers_id=integers.otherwise(()),
    secrets_id=integers.otherwise(()),
    owner_alias=text,
    alias=text,
    protected_branches=texts,
)
SECRET = body(
    "secret", name=scalar, value=scalar, env=scalar, escape_char=scalar.may(), projects_id=integers.otherwise(())
)
CREDENTIAL = body("credential", name=text, ssh_key=text)
DEVELOPER = body(
    "developer",
    username=text,
    password=text,
    email=text.may(),
    roles=texts.otherwise(()),
    github_username=text,
    gitlab_username=text,
)
COMPANY = body("company", title=text, alias=text, members_id=integers.otherwise(()))
EXECUTOR = body("executor", name=scalar, driver=scalar)


def add_client_ip(context: RequestContext) -> Mapping[str, Any]:
    """Return the client's IP address as a field of the message, for the limit of login attempts."""
    return {"ip_address": context.client_ip}


def reveal_to_admins(context: RequestContext) -> Mapping[str, Any]:
    """Return the field `reveal` for routes that all users may call: only administrators see hidden values."""
    return {"reveal": context.actor.is_admin}


def reveal_always(_context: RequestContext) -> Mapping[str, Any]:
    """Return the field `reveal` for routes that only administrators may call: they see hidden values."""
    return {"reveal": True}


def add_launch_source(context: RequestContext) -> Mapping[str, Any]:
    """Return the launch source of a build: `api` for personal tokens, which scripts use, `web` for login tokens."""
    return {"source": "api" if PERSONAL_TOKEN.fullmatch(read_token(context.headers)) else "web"}


def read_line_number(context: RequestContext) -> Mapping[str, Any]:
    """Return the line number in the path. Raises REQUEST_MALFORMED."""
    line_number: str = context.path_params["line_number"]
    if not (line_number.isascii() and line_number.isdigit() and len(line_number) < 19 and int(line_number) <= MAX_ID):
        raise RequestRejected("REQUEST_MALFORMED", "The line number must be a whole number from 0.")
    return {"line_number": int(line_number)}


# ---- response models

HIDDEN_PASSWORD = "*" * 11
HIDDEN_KEY = "*" * 15


class Token(Shape):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int


class User(Shape):
    id: int
    username: str
    roles: tuple[str, ...]


class Developer(Shape):
    id: int
    uuid: str
    username: str
    password: str = HIDDEN_PASSWORD
    enabled: bool
    roles: tuple[str, ...]
    email: str | None
    github_username: str | None
    gitlab_username: str | None
    projects_id: tuple[int, ...]


class Company(Shape):
    id: int
    alias: str
    title: str
    members_id: tuple[int, ...]
    created_at: Moment


class LastBuild(Shape):
    exit_code: int | None
    exit_message: str | None
    created_at: Moment | None


class Project(Shape):
    id: int
    name: str
    description: str | None
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    signature_key: Annotated[str, BeforeValidator(lambda key: key or HIDDEN_KEY)]
    available_steps: tuple[str, ...]
    repository_credential_id: int | None = Field(validation_alias="credential_id")
    secrets_id: tuple[int, ...]
    builds_id: tuple[int, ...]
    developers_id: tuple[int, ...]
    executor_id: int | None
    last_build: LastBuild
    owner_alias: str
    alias: str
    protected_branches: tuple[str, ...]


class Secret(Shape):
    id: int
    name: str
    escape_char: str | None
    env: str | None
    projects_id: tuple[int, ...]


class RevealedSecret(Secret):
    value: str


class WrittenSecret(RevealedSecret):
    detail: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _add_detail(cls, row: Any) -> Any:
        return row if is_maskable(row["value"]) else {**row, "detail": NOT_MASKED_DETAIL}

    @model_serializer(mode="wrap")
    def _omit_empty_detail(self, members: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        """Serialize without an empty `detail`. With a return annotation, the JSON schema would lack the fields."""
        fields = members(self)
        return {name: value for name, value in fields.items() if name != "detail" or value is not None}


class Credential(Shape):
    id: int
    name: str


class RevealedCredential(Credential):
    ssh_key: str


class Executor(Shape):
    id: int
    name: str
    driver: str
    variables: dict[str, str]


class Build(Shape):
    id: int
    project_id: int
    executor_id: str
    status: str
    priority: int
    sha: str | None
    ref: str | None
    output: str | None
    exit_code: int | None
    exit_message: str | None
    created_at: Moment | None = Field(validation_alias="queued_at")
    completed_at: Moment | None


class Launched(Shape):
    project_name: str
    executor_id: str
    build_id: int = Field(validation_alias="id")


class Queued(Shape):
    project_name: str
    executor_id: str
    build_id: int
    project_id: int
    queued_at: Moment
    priority: int
    reason: str


class Executed(Shape):
    project_name: str
    executor_id: str
    build_id: int = Field(validation_alias="id")
    project_id: int
    runner: str | None
    at: Moment | None = Field(validation_alias="started_at")


class LiveLog(Shape):
    step: str
    log: str
    line_number: int
    start_at: Moment | None
    closed_at: Moment | None
    success: bool | None
    skipped: bool | None
    timed_out: bool


class Log(Shape):
    id: int
    build_id: int
    step: str
    log: str
    start_at: Moment
    closed_at: Moment | None
    success: bool | None
    skipped: bool | None
    timed_out: bool


Environment = TypedDict(
    "Environment",
    {
        "max.parallel.executor": str | None,
        "default.admin.username": str | None,
        "jwt.life-time": str | None,
        "mail.from": str | None,
        "mail.host": str | None,
        "mail.port": str | None,
    },
)

TOKEN = shaped(Token)
USER = shaped(User)
ONE_DEVELOPER, DEVELOPERS = shaped(Developer), shaped(list[Developer], "users")
ONE_COMPANY, COMPANIES = shaped(Company), shaped(list[Company], "companies")
ONE_PROJECT, PROJECTS = shaped(Project), shaped(list[Project], "projects")
ONE_SECRET, SECRETS = shaped(Secret), shaped(list[Secret], "secrets")
REVEALED_SECRET, ECHOED_SECRET = shaped(RevealedSecret), echoed(WrittenSecret, "value")
ONE_CREDENTIAL, CREDENTIALS = shaped(Credential), shaped(list[Credential], "credentials")
REVEALED_CREDENTIAL, ECHOED_CREDENTIAL = shaped(RevealedCredential), echoed(RevealedCredential, "ssh_key")
ONE_EXECUTOR, EXECUTORS = shaped(Executor), shaped(list[Executor], "executors")
ONE_BUILD, BUILDS = shaped(Build), shaped(list[Build])
LAUNCHED = row(Launched)
QUEUEDS, EXECUTEDS = as_it_is(list[Queued]), shaped(list[Executed])
LIVE_LOG, LOG = as_it_is(LiveLog), shaped(Log)
OUTPUT = as_it_is(str, "text/plain")
ENVIRONMENT = as_it_is(Environment)
