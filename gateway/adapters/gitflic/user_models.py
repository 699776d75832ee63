"""Users and their SSH keys in GitFlic's API."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo

from gateway.adapters.gitflic import avatars
from gateway.adapters.gitflic.datetime_formats import Day
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.forwarding.serializers import ResponseContext, ResponseModel, serialize
from gateway.schemas.json_body import JsonBody
from gateway.schemas.loose_types import LocalDay, Text, reject_empty
from gateway.schemas.samples import UUID

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDkxjaVmTEsJDTtf3bI4XYDpb58fvKfSjy7u8EZeIabc ivan@laptop"


NAME: dict[str, Any] = {"maxLength": 255}
RequiredText = Annotated[Text, BeforeValidator(reject_empty)]


class KeyRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["publicKey", "title"]})

    public_key: Text = Field(
        None,
        alias="publicKey",
        description="one line in authorized_keys format, unchanged",
        examples=[PUBLIC_KEY],
        json_schema_extra={"maxLength": 8192},
    )
    title: Text = Field(None, examples=["Work laptop"], json_schema_extra=NAME)
    expires_at: LocalDay = Field(
        None,
        alias="expiresAt",
        description="date or date-time, of which the date counts; null or missing: no expiry",
        examples=["2030-12-31"],
    )


class EmailRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["email"]})

    email: RequiredText = Field(
        None,
        validate_default=True,
        description="e-mail address, unique, case-insensitive",
        examples=["ivan@example.org"],
        json_schema_extra=NAME,
    )


class UserRequest(EmailRequest):
    model_config = ConfigDict(json_schema_extra={"required": ["email", "password", "alias"]})

    password: Text = Field(
        None,
        description="8 to 1024 characters, not a common password, not containing the username",
        examples=["correct horse battery staple"],
        json_schema_extra={"maxLength": 1024},
    )
    username: RequiredText = Field(
        None,
        alias="alias",
        validate_default=True,
        description="username",
        examples=["ivan"],
        json_schema_extra=NAME,
    )


class UsernameRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["username"]})

    username: Text = Field(
        None,
        description="1 to 64 Latin letters, digits, dots, dashes or underscores; unique, case-insensitive",
        examples=["ivan"],
        json_schema_extra=NAME,
    )


class PasswordRequest(JsonBody):
    model_config = ConfigDict(json_schema_extra={"required": ["password", "passwordConfirm"]})

    password: RequiredText = Field(
        None,
        validate_default=True,
        description="8 to 1024 characters, not a common password, not containing the username",
        examples=["correct horse battery staple"],
        json_schema_extra={"maxLength": 1024},
    )
    password_confirm: RequiredText = Field(
        None,
        alias="passwordConfirm",
        validate_default=True,
        description="the same password again",
        examples=["correct horse battery staple"],
    )


async def read_user_filter(
    email: Annotated[str | None, Query(description="e-mail address of the user, case-insensitive")] = None,
    username: Annotated[str | None, Query(description="username, case-insensitive; also `userAlias`")] = None,
    user_alias: Annotated[str | None, Query(alias="userAlias", include_in_schema=False)] = None,
) -> Mapping[str, Any]:
    """Return the filters in the query string. A missing or empty filter matches all users."""
    return {"email": email or None, "username": (user_alias if username is None else username) or None}


def _avatar_url(uuid: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, ResponseContext)  # noqa: S101  the serializer sets it
    return info.context.url + avatars.avatar_path(uuid)


Avatar = Annotated[str, BeforeValidator(_avatar_url), Field(validation_alias="uuid")]


class GitFlicUser(ResponseModel):
    id: str = Field(validation_alias="uuid", description="UUID of the user", examples=[UUID])
    username: str = Field(
        description="1 to 64 Latin letters, digits, dots, dashes or underscores; unique, case-insensitive",
        examples=["ivan"],
    )
    name: str | None = Field(None, description="always null", examples=["website"])
    surname: str | None = Field(None, description="always null")
    fullName: str | None = Field(None, description="always null")
    avatar: Avatar = Field(description="URL of the avatar image")
    cover: str | None = Field(None, description="always null")


class UserAdmin(GitFlicUser):
    email: Annotated[str, BeforeValidator(lambda email: email or "")] = Field(
        description="e-mail address; empty: none", examples=["ivan@example.org"]
    )
    confirmed: Annotated[bool, BeforeValidator(bool), Field(validation_alias="email")] = Field(
        description="whether the user has an e-mail address"
    )


class SshKey(ResponseModel):
    uuid: str = Field(description="id of the same object in GitFlic's routes", examples=[UUID])
    publicKey: str = Field(
        validation_alias="public_key",
        description="one line in authorized_keys format, unchanged",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDkxjaVmTEsJDTtf3bI4XYDpb58fvKfSjy7u8EZeIabc ivan@laptop"],
    )
    title: str = Field(examples=["Work laptop"])
    expiresAt: Day | None = Field(
        validation_alias="expires_at",
        description="last day on which the key is valid; null: no expiry",
        examples=["2030-12-31"],
    )
    userUuid: str = Field(
        validation_alias="user_uuid",
        description="UUID of the key's owner",
        examples=[UUID],
    )


ONE_USER = serialize(GitFlicUser)
USER_PAGE = create_slice_writer(UserAdmin, "restUserAdminModelList")
ONE_KEY = serialize(SshKey)
KEY_PAGE = create_slice_writer(SshKey, "userPublicSshKeyModelList")
