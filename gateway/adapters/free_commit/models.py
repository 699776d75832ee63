"""Response models of Free Commit's resources."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import TypedDict  # pydantic rejects typing.TypedDict before Python 3.12

from gateway.forwarding.serializers import (
    Moment,
    ResponseModel,
    serialize,
    serialize_with_secret,
)
from gateway.schemas.samples import MOMENT, UUID
from libs.security.masking import MIN_VALUE_LENGTH, is_maskable

NOT_MASKED_DETAIL = f"The value has fewer than {MIN_VALUE_LENGTH} characters, so it is not masked in logs."

HIDDEN_PASSWORD = "*" * 11
HIDDEN_KEY = "*" * 15


class Token(ResponseModel):
    access_token: str = Field(
        description="JSON Web Token; `sub` is the user id as a string, `roles` a list",
        examples=["eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxNyJ9.c2lnbmF0dXJl"],
    )
    token_type: str = Field("Bearer", examples=["Bearer"])
    expires_in: int = Field(description="lifetime in seconds", examples=[3600])


class User(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    username: str = Field(
        description="1 to 64 Latin letters, digits, dots, dashes or underscores; unique, case-insensitive",
        examples=["ivan"],
    )
    roles: tuple[str, ...] = Field(
        description="any of `ROLE_ADMIN` and `ROLE_DEVELOPER`; neither implies the other", examples=[["ROLE_DEVELOPER"]]
    )


class Developer(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    uuid: str = Field(description="id of the same object in GitFlic's routes", examples=[UUID])
    username: str = Field(
        description="1 to 64 Latin letters, digits, dots, dashes or underscores; unique, case-insensitive",
        examples=["ivan"],
    )
    password: str = Field(HIDDEN_PASSWORD, description="always asterisks", examples=["***********"])
    enabled: bool = Field(description="false: the user cannot sign in, and no token of the user is valid")
    roles: tuple[str, ...] = Field(
        description="any of `ROLE_ADMIN` and `ROLE_DEVELOPER`; neither implies the other", examples=[["ROLE_DEVELOPER"]]
    )
    email: str | None = Field(description="e-mail address, unique, case-insensitive", examples=["ivan@example.org"])
    github_username: str | None = Field(
        description="GitHub username whose pushes start builds in the user's name; empty: none", examples=["ivan"]
    )
    gitlab_username: str | None = Field(
        description="GitLab username whose pushes start builds in the user's name; empty: none"
    )
    projects_id: tuple[int, ...] = Field(
        description="ids of projects of which the user is a developer and may launch builds", examples=[[1, 2]]
    )


class Company(ResponseModel):
    id: int = Field(description="number of the company, also `ownerId` of its runners")
    alias: str = Field(description="name used in URLs, unique, case-insensitive", examples=["website"])
    title: str = Field(examples=["Example Ltd"])
    members_id: tuple[int, ...] = Field(
        description="ids of users who jointly own the company's projects", examples=[[1, 2]]
    )
    created_at: Moment = Field(description="when the company was created", examples=[MOMENT])


class LastBuild(ResponseModel):
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    created_at: Moment | None = Field(description="when it was queued", examples=[MOMENT])


class Project(ResponseModel):
    id: int = Field(description="number of the project, also `ownerId` of its runners")
    name: str = Field(examples=["website"])
    description: str | None = Field(examples=["The public website"])
    repository: str = Field(
        description="git URL: http(s), ssh, or like `git@host:path`; returned without credentials",
        examples=["https://git.example.org/website.git"],
    )
    branch: str = Field(
        description="branch to build; `*`: the default branch, and pushes to any branch", examples=["main"]
    )
    spec_file_path: str = Field(description="path from the root of the repository", examples=["/headrace.yaml"])
    keep_number_build: int | None = Field(
        description="number of finished builds to keep; null: the server's setting", examples=[50]
    )
    keep_build_days: int = Field(0, description="days until finished builds are deleted; 0: the server's setting")
    keep_log_days: int = Field(0, description="days until logs are removed; 0: the server's setting")
    keep_number_log: int = Field(0, description="number of finished builds with logs; 0: the server's setting")
    keep_artifact_days: int = Field(0, description="days until artifacts are removed; 0: the server's setting")
    keep_number_artifact: int = Field(
        0, description="number of finished builds with artifacts; 0: the server's setting"
    )
    allow_concurrent_execution: bool = Field(
        description="whether builds of the project may run at the same time", examples=[False]
    )
    signature_key: Annotated[str, BeforeValidator(lambda key: key or HIDDEN_KEY)] = Field(
        description="key that signs webhooks, 32 hexadecimal digits; only administrators see it, others get asterisks",
        examples=["0123456789abcdef0123456789abcdef"],
    )
    available_steps: tuple[str, ...] = Field(
        description="step names with `@`, from the spec file of the latest build", examples=[["@build", "@deploy"]]
    )
    repository_credential_id: int | None = Field(
        validation_alias="credential_id", description="id of the SSH key for the repository; null: none", examples=[17]
    )
    secrets_id: tuple[int, ...] = Field(description="ids of secrets attached to the project", examples=[[5]])
    builds_id: tuple[int, ...] = Field(description="ids of finished builds", examples=[[31, 32]])
    developers_id: tuple[int, ...] = Field(
        description="ids of users who may launch builds of the project", examples=[[17]]
    )
    executor_id: int | None = Field(description="number of the executor; null: never set")
    last_build: LastBuild = Field(description="latest finished build; its members are null before the first")
    owner_alias: str = Field(description="username of a user or alias of a company", examples=["ivan"])
    alias: str = Field(description="name used in URLs, unique among the owner's projects", examples=["website"])
    protected_branches: tuple[str, ...] = Field(
        description="patterns like `release/*`, or `refs/tags/v*` for tags; protected runners only run jobs of these",
        examples=[["main"]],
    )
    visibility: str = Field(
        "internal", description="`internal`: all users see the project; `private`: only members", examples=["private"]
    )
    badges: bool = Field(False, description="whether the result of the last build is public", examples=[True])
    superseded_builds: str = Field(
        "keep", description="builds of a branch that a newer push cancels: `keep` (none), `waiting` or `all`"
    )
    build_tags: bool = Field(False, description="whether a push of a tag starts a build", examples=[True])
    build_pull_requests: str = Field(
        "none",
        description="pull and merge requests that are built: `none`, those of `branches`, or those of `forks`, too",
    )
    forge_kind: str = Field(
        "none", description="forge that shows the results: `none`, `github`, `gitlab` or `gitea`", examples=["github"]
    )
    forge_api_url: str = Field(
        "",
        description="URL of the forge's API; empty: derived from the repository's",
        examples=["https://git.example.org/api/v4"],
    )
    forge_secret: str = Field(
        "", description="name of the project's secret with the token for the forge", examples=["FORGE_TOKEN"]
    )


class Secret(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    name: str = Field(description="name of the environment variable", examples=["DEPLOY_TOKEN"])
    escape_char: str | None = Field(description="characters separated by commas; stored, without effect on the value")
    env: str | None = Field(description="label, without effect on builds", examples=["production"])
    projects_id: tuple[int, ...] = Field(
        description="ids of projects whose builds get the secret; empty: global, or its last project was deleted",
        examples=[[1, 2]],
    )


class RevealedSecret(Secret):
    value: str = Field(description="value in clear text", examples=["the secret value"])


class WrittenSecret(RevealedSecret):
    detail: str | None = Field(
        None, description="warning that the value is too short to be masked in logs; absent if it is masked"
    )

    @model_validator(mode="before")
    @classmethod
    def _add_detail(cls, row: Any) -> Any:
        return row if is_maskable(row["value"]) else {**row, "detail": NOT_MASKED_DETAIL}

    @model_serializer(mode="wrap")
    def _omit_empty_detail(self, members: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        """Leave out an empty `detail`. A return annotation would remove the fields from the JSON schema."""
        fields = members(self)
        return {name: value for name, value in fields.items() if name != "detail" or value is not None}


class Credential(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    name: str = Field(examples=["website"])


class RevealedCredential(Credential):
    ssh_key: str = Field(description="private key in clear text", examples=["-----BEGIN OPENSSH PRIVATE KEY-----\n..."])


class Executor(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    name: str = Field(examples=["website"])
    driver: str = Field(
        description="`localDriver` or `openStackDriver`; has no effect on builds", examples=["localDriver"]
    )
    variables: dict[str, str] = Field(description="names and their string values", examples=[{}])


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

TOKEN = serialize(Token)
ONE_DEVELOPER, DEVELOPERS = serialize(Developer), serialize(list[Developer], "rows")
ONE_COMPANY, COMPANIES = serialize(Company), serialize(list[Company], "rows")
ONE_PROJECT, PROJECTS = serialize(Project), serialize(list[Project], "rows")
ONE_SECRET, SECRETS = serialize(Secret), serialize(list[Secret], "rows")
REVEALED_SECRET, ECHOED_SECRET = serialize(RevealedSecret), serialize_with_secret(WrittenSecret, "value")
ONE_CREDENTIAL, CREDENTIALS = serialize(Credential), serialize(list[Credential], "rows")
REVEALED_CREDENTIAL, ECHOED_CREDENTIAL = (
    serialize(RevealedCredential),
    serialize_with_secret(RevealedCredential, "ssh_key"),
)
ONE_EXECUTOR, EXECUTORS = serialize(Executor), serialize(list[Executor], "rows")
