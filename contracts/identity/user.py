"""A user: commands, events, questions and answers. Fields under "filled in" are overwritten by the service."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from contracts.identity.api_token import ApiTokenCreated, ApiTokenRevoked, RecordApiToken, RevokeApiToken
from contracts.identity.fields import MAX_PASSWORD_LENGTH, Name, Names
from contracts.identity.ssh_key import AddSshKey, RemoveSshKey, SshKeyAdded, SshKeyRemoved
from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageQuery, SliceQuery


class RegisterUser(Command):
    username: Name | None = None
    password: str | None = Field(default=None, repr=False, max_length=MAX_PASSWORD_LENGTH)
    email: Name | None = None
    roles: Names = ()
    github_username: Name | None = None
    gitlab_username: Name | None = None
    # filled in
    user_id: int = 0
    user_uuid: str = ""
    sealed_password_hash: str = ""


class RenameUser(Command):
    user_id: int
    username: Name | None = None


class ChangeEmail(Command):
    user_id: int
    email: Name | None = None


class ChangePassword(Command):
    user_id: int
    password: str | None = Field(default=None, repr=False, max_length=MAX_PASSWORD_LENGTH)
    password_confirm: str | None = Field(default=None, repr=False)  # the same again, of those who type it twice
    # filled in
    sealed_password_hash: str = ""


class ChangeRoles(Command):
    user_id: int
    roles: Names | None = None
    # filled in
    anchor: int = 0


class SetUserEnabled(Command):
    user_id: int
    enabled: bool | None = None
    # filled in
    anchor: int = 0


class ChangeProviderName(Command):
    """One name at a forge; empty means none."""

    user_id: int
    provider: Literal["github", "gitlab"]
    username: Name | None = None


class DeleteUser(Command):
    user_id: int
    # filled in
    anchor: int = 0


class SetUserProjects(Command, wire_name="ChooseProjectsOfUser"):
    """Replaces all of them. Answered with the UserView; the projects service records it. PROJECT_NOT_FOUND."""

    user_id: int
    projects_id: Annotated[tuple[int, ...], Field(max_length=1000)]


class AnchorAdministrator(Command):
    """Make this administrator the one who must stay until another one is anchored; the service gives it to itself."""

    user_id: int
    # filled in
    anchor: int = 0


# events


class UserRegistered(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"email", "github_username", "gitlab_username"})

    user_id: int
    user_uuid: str
    username: str
    sealed_password_hash: str
    email: str | None = None
    roles: tuple[str, ...]
    github_username: str | None = None
    gitlab_username: str | None = None


class UserRenamed(Event):
    user_id: int
    username: str
    former_username: str


class UserEmailChanged(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"email"})

    user_id: int
    email: str | None = None


class UserPasswordChanged(Event):
    user_id: int
    sealed_password_hash: str
    epoch: int


class UserRolesChanged(Event):
    user_id: int
    roles: tuple[str, ...]
    epoch: int


class UserEnabled(Event):
    user_id: int
    epoch: int


class UserDisabled(Event):
    user_id: int
    epoch: int


class UserProviderNamesChanged(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"github_username", "gitlab_username"})

    user_id: int
    github_username: str | None = None
    gitlab_username: str | None = None


class AdministratorAnchored(Event):
    """Whoever holds the highest anchor is an enabled administrator: it can be lost only where a higher one exists."""

    user_id: int
    anchor: int


class UserDeleted(Event):
    user_id: int
    username: str


class UserView(Message):
    id: int
    uuid: str
    username: str
    email: str | None
    roles: tuple[str, ...]
    enabled: bool
    github_username: str | None
    gitlab_username: str | None
    projects_id: tuple[int, ...]
    created_at: datetime


class GetUser(Query):
    """One user, by id or by username (case does not count)."""

    user_id: int | None = None
    username: str | None = None


class ListUsers(Query):
    """All users by id, or those with these ids: then each of them must exist."""

    user_ids: tuple[int, ...] | None = None


class Users(Message):
    users: tuple[UserView, ...]


class ListUsersPage(PageQuery, wire_name="PageUsers"):
    """Columns: developer_id, user_username, developer_email, user_role; id to filter and sort by."""


class ListUserSummaries(SliceQuery, wire_name="FindUsers"):
    """Users by username; of those who have this e-mail address and this username, where they are given (without case).

    The rows are FoundUsers.
    """

    email: str | None = None
    username: str | None = None


class UserSummary(Message):
    uuid: str
    username: str
    email: str | None


UserCommand = (
    RegisterUser
    | RenameUser
    | ChangeEmail
    | ChangePassword
    | ChangeRoles
    | SetUserEnabled
    | ChangeProviderName
    | AnchorAdministrator
    | AddSshKey
    | RemoveSshKey
    | DeleteUser
    | RecordApiToken
    | RevokeApiToken
)
UserEvent = (
    UserRegistered
    | UserRenamed
    | UserEmailChanged
    | UserPasswordChanged
    | UserRolesChanged
    | UserEnabled
    | UserDisabled
    | UserProviderNamesChanged
    | AdministratorAnchored
    | SshKeyAdded
    | SshKeyRemoved
    | UserDeleted
    | ApiTokenCreated
    | ApiTokenRevoked
)
