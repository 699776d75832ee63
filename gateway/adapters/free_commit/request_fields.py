"""Request fields of Free Commit's API, by resource."""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import (
    Boolean,
    Integer,
    Integers,
    Scalar,
    StringMap,
    Text,
    Texts,
    UtcDay,
    none_as_empty,
)
from gateway.schemas.project_retention import RetentionFields

IntegersOrNone = Annotated[Integers, AfterValidator(none_as_empty)]
TextsOrNone = Annotated[Texts, AfterValidator(none_as_empty)]
TextOrEmpty = Annotated[Text, AfterValidator(lambda text: text or "")]


def required(*names: str) -> ConfigDict:
    """Return the configuration of a model that documents these fields as required. The message class checks them."""
    return ConfigDict(json_schema_extra={"required": list(names)})


def at_most(limit: int, *, items: bool = False) -> dict[str, Any]:
    """Return the documented maximum length of a text or list. The message class checks it."""
    return {"maxItems" if items else "maxLength": limit}


NAME, MANY = at_most(255), at_most(1000, items=True)
ENVIRONMENT_NAME = "name of the environment variable"
USER_ID_LIST = "ids of users; replaces the whole list"


class AuthFields(Fields):
    model_config = required("username", "password")

    username: TextOrEmpty = Field(
        "", description="username, case-insensitive", examples=["ivan"], json_schema_extra=NAME
    )
    password: TextOrEmpty = Field(
        "",
        description="the user's password",
        examples=["correct horse battery staple"],
        json_schema_extra=at_most(1024),
    )


class BuildChangeFields(Fields):
    priority: Integer = Field(
        None,
        description="-100 to 100, default 0; higher priority runs first",
        examples=[1],
        json_schema_extra={"minimum": -100, "maximum": 100},
    )


class ProjectFields(RetentionFields):
    model_config = required(
        "name", "repository", "branch", "spec_file_path", "allow_concurrent_execution", "executor_id"
    )

    name: Text = Field(None, examples=["website"], json_schema_extra=NAME)
    description: Text = Field(None, examples=["The public website"], json_schema_extra=at_most(10_000))
    repository: Text = Field(
        None,
        description="git URL: http(s), ssh, or like `git@host:path`; returned without credentials",
        examples=["https://git.example.org/website.git"],
        json_schema_extra=at_most(2048),
    )
    branch: Text = Field(
        None,
        description="branch to build; `*`: the default branch, and pushes to any branch",
        examples=["main"],
        json_schema_extra=NAME,
    )
    spec_file_path: Text = Field(
        None,
        description="path from the root of the repository",
        examples=["/headrace.yaml"],
        json_schema_extra=at_most(2048),
    )
    keep_number_build: Integer = Field(
        None, description="number, or a string with it; null or an empty string: the server's setting", examples=[50]
    )
    allow_concurrent_execution: Boolean = Field(
        None, description="whether builds of the project may run at the same time", examples=[False]
    )
    executor_id: Integer = Field(None, description="number of an executor", examples=[1])
    credential_id: Integer = Field(
        None,
        alias="repository_credential_id",
        description="id of an SSH key; null, an empty string or missing: none",
        examples=[17],
    )
    developers_id: IntegersOrNone = Field((), description=USER_ID_LIST, examples=[[17]], json_schema_extra=MANY)
    secrets_id: IntegersOrNone = Field(
        (), description="ids of secrets; replaces the whole list", examples=[[5]], json_schema_extra=MANY
    )
    owner_alias: Text = Field(
        None,
        description="username of a user or alias of a company; default: the creating user",
        examples=["ivan"],
        json_schema_extra=NAME,
    )
    alias: Text = Field(
        None,
        description="name used in URLs; derived from the project's name if missing",
        examples=["website"],
        json_schema_extra=NAME,
    )
    protected_branches: Texts = Field(
        None,
        description="names and patterns like `release/*`; null: the project's own branch",
        examples=[["main"]],
        json_schema_extra=at_most(100, items=True),
    )

    visibility: Text = Field(
        None,
        description="`internal`: all users see the project; `private`: only members; default: the server's setting",
        examples=["private"],
    )


class PublicationFields(Fields):
    badges: Boolean = Field(False, description="whether the result of the last build is public", examples=[True])


class SecretFields(Fields):
    model_config = required("name", "value")

    name: Scalar = Field(None, description=ENVIRONMENT_NAME, examples=["DEPLOY_TOKEN"], json_schema_extra=NAME)
    value: Scalar = Field(
        None,
        description="string; numbers and booleans are converted to strings",
        examples=["the secret value"],
        json_schema_extra=at_most(65_536),
    )
    env: Scalar = Field(
        None, description="label, without effect on builds", examples=["production"], json_schema_extra=NAME
    )
    escape_char: Scalar = Field(
        None,
        description="characters separated by commas; a change drops a comma at the beginning or end",
        examples=[None],
        json_schema_extra=NAME,
    )
    projects_id: IntegersOrNone = Field(
        (),
        description="ids of projects; replaces the whole list; empty: a global secret",
        examples=[[1, 2]],
        json_schema_extra=MANY,
    )


class CredentialFields(Fields):
    model_config = required("name", "ssh_key")

    name: Text = Field(None, examples=["deploy key"], json_schema_extra=NAME)
    ssh_key: Text = Field(
        None,
        description="private key in clear text",
        examples=["-----BEGIN OPENSSH PRIVATE KEY-----\n..."],
        json_schema_extra=at_most(65_536),
    )


class DeveloperFields(Fields):
    model_config = required("username", "password")

    username: Text = Field(
        None,
        description="1 to 64 Latin letters, digits, dots, dashes or underscores; unique, case-insensitive",
        examples=["ivan"],
        json_schema_extra=NAME,
    )
    password: Text = Field(
        None,
        description="8 to 1024 characters, not a common password, not containing the username",
        examples=["correct horse battery staple"],
        json_schema_extra=at_most(1024),
    )
    email: Text = Field(
        None,
        description="e-mail address, unique, case-insensitive",
        examples=["ivan@example.org"],
        json_schema_extra=NAME,
    )
    roles: TextsOrNone = Field(
        (),
        description="any of `ROLE_ADMIN` and `ROLE_DEVELOPER`; neither implies the other",
        examples=[["ROLE_DEVELOPER"]],
        json_schema_extra=at_most(100, items=True),
    )
    github_username: Text = Field(
        None,
        description="GitHub username whose pushes start builds in the user's name; empty: none",
        examples=["ivan"],
        json_schema_extra=NAME,
    )
    gitlab_username: Text = Field(
        None,
        description="GitLab username whose pushes start builds in the user's name; empty: none",
        examples=["ivan"],
        json_schema_extra=NAME,
    )


class DeveloperChangeFields(Fields):
    enabled: Boolean = Field(
        None, description="false: the user cannot sign in, and no token of the user is valid", examples=[True]
    )
    roles: Texts = Field(
        None,
        description="any of `ROLE_ADMIN` and `ROLE_DEVELOPER`; neither implies the other",
        examples=[["ROLE_DEVELOPER"]],
        json_schema_extra=at_most(100, items=True),
    )
    projects_id: Integers = Field(
        None, description="ids of projects; replaces the whole list", examples=[[1, 2]], json_schema_extra=MANY
    )


class CompanyFields(Fields):
    model_config = required("title")

    title: Text = Field(None, examples=["Acme"], json_schema_extra=NAME)
    alias: Text = Field(
        None,
        description="name used in URLs; derived from the title if missing",
        examples=["acme"],
        json_schema_extra=NAME,
    )
    members_id: IntegersOrNone = Field(
        (),
        description="ids of users who jointly own the company's projects",
        examples=[[1, 2]],
        json_schema_extra=MANY,
    )


class ExecutorFields(Fields):
    model_config = required("name", "driver")

    name: Scalar = Field(None, examples=["default"], json_schema_extra=NAME)
    driver: Scalar = Field(
        None,
        description="`localDriver` or `openStackDriver`; has no effect on builds",
        examples=["localDriver"],
        json_schema_extra=NAME,
    )


class ExecutorChangeFields(Fields):
    variables: StringMap = Field(
        None,
        description="names and values; replaces all variables; null or missing: removes all",
        examples=[{"REGION": "eu"}],
    )


class TokenFields(Fields):
    model_config = required("name")

    name: Text = Field(None, examples=["deploy script"], json_schema_extra=NAME)
    expires_at: UtcDay = Field(
        None,
        description="last day on which the token is valid, in UTC; null or missing: no expiry",
        examples=["2030-12-31"],
    )
    scopes: TextsOrNone = Field(
        (),
        description="scopes of the token, like `BUILD_READ`; empty: everything that the user may do",
        examples=[["BUILD_READ"]],
        json_schema_extra=at_most(100, items=True),
    )


AUTH = envelope("auth", AuthFields)
BUILD_CHANGE = envelope("build", BuildChangeFields)
PROJECT = envelope("project", ProjectFields)
PUBLICATION = envelope("project", PublicationFields)
SECRET = envelope("secret", SecretFields)
CREDENTIAL = envelope("credential", CredentialFields)
DEVELOPER, DEVELOPER_CHANGE = envelope("developer", DeveloperFields), envelope("developer", DeveloperChangeFields)
COMPANY = envelope("company", CompanyFields)
EXECUTOR, EXECUTOR_CHANGE = envelope("executor", ExecutorFields), envelope("executor", ExecutorChangeFields)
TOKEN = envelope("token", TokenFields)
