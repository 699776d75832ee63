"""GitFlic's users and their SSH keys."""

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

# ---- what clients send


def _read_day(value: Any) -> date | None:
    """Of a date or a date-time, in ISO 8601: the day that is written there."""
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
    "email": "of the user with this e-mail address; case does not count",
    "username": "of the user with this username; case does not count; also `userAlias`",
}


async def find_user(asked: RequestContext) -> Mapping[str, Any]:
    """The user of the path's alias. Raises Refused with DEVELOPER_NOT_FOUND."""
    captured = dict(asked.path_params)
    found = UserView.model_validate_json(await asked.send(GetUser(username=captured.pop("user_alias"))))
    return {**captured, "user_id": found.id}


def add_developer_role(_asked: RequestContext) -> Mapping[str, Any]:
    """Whoever is made here can also log in to the other API."""
    return {"roles": ("ROLE_DEVELOPER",)}


def read_user_filter(asked: RequestContext) -> Mapping[str, Any]:
    """Nothing and an empty text ask for everybody."""
    given = dict(parse_qsl(asked.query.decode("latin-1"), encoding="utf-8"))
    return {"email": given.get("email"), "username": given.get("username", given.get("userAlias"))}


# ---- what they read


def _avatar_url(uuid: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, RequestContext)  # noqa: S101  writers give it
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
