"""Users and their SSH keys in GitFlic's API."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, Field, ValidationInfo

from contracts.identity import GetUser, UserView
from gateway.adapters.gitflic import avatars
from gateway.adapters.gitflic.datetime_formats import Day
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.context import RequestContext
from gateway.framework.fields import Field as BodyField
from gateway.framework.fields import Unreadable, text
from gateway.framework.route_table import bare
from gateway.framework.serializers import Shape, shaped

# ---- request fields


def _read_day(value: Any) -> date | None:
    """Return the date of an ISO 8601 date or date-time, ignoring time and zone; None for null or an empty string."""
    if value in (None, ""):
        return None
    try:
        return datetime.fromisoformat(value).date()
    except (TypeError, ValueError):
        raise Unreadable("a date like 2030-12-31 or null") from None


EXPIRES_AT = BodyField(_read_day, {"type": ["string", "null"], "format": "date"})

KEY = bare("key", public_key=text.called("publicKey"), title=text, expires_at=EXPIRES_AT.called("expiresAt"))
USER = bare("developer", email=text.needed(), password=text, username=text.called("alias").needed())
EMAIL = bare("developer", email=text.needed())
USERNAME = bare("developer", username=text)
PASSWORD = bare("developer", password=text.needed(), password_confirm=text.called("passwordConfirm").needed())

FILTERS = {
    "email": "e-mail address of the user, case-insensitive",
    "username": "username, case-insensitive; also `userAlias`",
}


async def find_user(context: RequestContext) -> Mapping[str, Any]:
    """Return the path parameters with the user's id in place of the alias. Raises DEVELOPER_NOT_FOUND."""
    path_params = dict(context.path_params)
    user = UserView.model_validate_json(await context.send(GetUser(username=path_params.pop("user_alias"))))
    return {**path_params, "user_id": user.id}


def add_developer_role(_context: RequestContext) -> Mapping[str, Any]:
    """Return the developer role for new users, so that they can also use Free Commit's API."""
    return {"roles": ("ROLE_DEVELOPER",)}


def read_user_filter(context: RequestContext) -> Mapping[str, Any]:
    """Return the filters in the query string. A missing or empty filter matches all users."""
    parameters = dict(parse_qsl(context.query.decode("latin-1"), encoding="utf-8"))
    return {"email": parameters.get("email"), "username": parameters.get("username", parameters.get("userAlias"))}


# ---- response models


def _avatar_url(uuid: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, RequestContext)  # noqa: S101  the writer sets it
    return info.context.state.settings.url + avatars.avatar_path(uuid)


Avatar = Annotated[str, BeforeValidator(_avatar_url), Field(validation_alias="uuid")]


class GitFlicUser(Shape):
    id: str = Field(validation_alias="uuid")
    username: str
    name: str | None = None
    surname: str | None = None
    fullName: str | None = None  # noqa: N815  GitFlic's own name
    avatar: Avatar
    cover: str | None = None


class UserAdmin(GitFlicUser):
    email: Annotated[str, BeforeValidator(lambda email: email or "")]
    confirmed: Annotated[bool, BeforeValidator(bool), Field(validation_alias="email")]


class SshKey(Shape):
    uuid: str
    publicKey: str = Field(validation_alias="public_key")  # noqa: N815
    title: str
    expiresAt: Day | None = Field(validation_alias="expires_at")  # noqa: N815
    userUuid: str = Field(validation_alias="user_uuid")  # noqa: N815


ONE_USER = shaped(GitFlicUser)
USER_PAGE = create_slice_writer(UserAdmin, "restUserAdminModelList")
ONE_KEY = shaped(SshKey)
KEY_PAGE = create_slice_writer(SshKey, "userPublicSshKeyModelList")
