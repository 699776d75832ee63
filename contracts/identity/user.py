"""Messages about users."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from contracts.identity.api_token import ApiTokenCreated, ApiTokenRevoked
from contracts.identity.fields import MAX_PASSWORD_LENGTH, Name, Names
from contracts.identity.identity_link import UserIdentityLinked, UserIdentityUnlinked
from contracts.identity.ssh_key import SshKeyAdded, SshKeyRemoved
from contracts.messages import Command, Event, Message, Query
from contracts.paging import FilteredPageRequest, PageRequest


class RegisterUser(Command):
    """Create a user, who is enabled. Usernames and e-mail addresses are unique.

    Errors: DEVELOPER_USERNAME_REQUIRED, DEVELOPER_USERNAME_INVALID, DEVELOPER_USERNAME_TAKEN,
    DEVELOPER_PASSWORD_REQUIRED, DEVELOPER_PASSWORD_WEAK, DEVELOPER_EMAIL_INVALID, DEVELOPER_EMAIL_TAKEN,
    DEVELOPER_ROLES_INVALID.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"user_id", "user_uuid", "sealed_password_hash"})

    username: Name | None = None
    password: str | None = Field(default=None, repr=False, max_length=MAX_PASSWORD_LENGTH)
    email: Name | None = None
    roles: Names = ()
    github_username: Name | None = None
    gitlab_username: Name | None = None


class RenameUser(Command):
    """Change the username of a user, which is also part of the paths of the user's projects.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_USERNAME_REQUIRED, DEVELOPER_USERNAME_INVALID, DEVELOPER_USERNAME_TAKEN.
    """

    user_id: int
    username: Name | None = None


class ChangeEmail(Command):
    """Change the e-mail address of a user. Blank: none.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_EMAIL_INVALID, DEVELOPER_EMAIL_TAKEN.
    """

    user_id: int
    email: Name | None = None


class ChangePassword(Command):
    """Change the password of a user, which ends all sessions and revokes all personal tokens.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_PASSWORD_REQUIRED, DEVELOPER_PASSWORD_WEAK, DEVELOPER_PASSWORDS_DIFFER.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_password_hash"})

    user_id: int
    password: str | None = Field(default=None, repr=False, max_length=MAX_PASSWORD_LENGTH)
    password_confirm: str | None = Field(default=None, repr=False)  # the same password again; None: not compared


class ChangeRoles(Command):
    """Change the roles of a user, which ends all sessions and revokes all personal tokens.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_ROLES_REQUIRED, DEVELOPER_ROLES_INVALID, DEVELOPER_LAST_ADMINISTRATOR.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"anchor"})

    user_id: int
    roles: Names | None = None


class SetUserEnabled(Command):
    """Enable or disable a user, which ends all sessions and revokes all personal tokens.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_ENABLED_REQUIRED, DEVELOPER_LAST_ADMINISTRATOR.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"anchor"})

    user_id: int
    enabled: bool | None = None


class ChangeProviderName(Command):
    """Change the name of a user at a forge. Blank: none. Errors: DEVELOPER_NOT_FOUND."""

    user_id: int
    provider: Literal["github", "gitlab"]
    username: Name | None = None


class DeleteUser(Command):
    """Delete a user and erase the user's name and personal data.

    Errors: DEVELOPER_NOT_FOUND, DEVELOPER_LAST_ADMINISTRATOR.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"anchor"})

    user_id: int


class SetUserProjects(Command, wire_name="ChooseProjectsOfUser"):
    """Replace the projects in which a user has the role `developer`. Answer: UserView.

    In a listed project, a maintainer or reader becomes a developer. Errors: DEVELOPER_NOT_FOUND, PROJECT_NOT_FOUND.
    """

    user_id: int
    projects_id: Annotated[tuple[int, ...], Field(max_length=1000)]


class UserRegistered(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"email", "github_username", "gitlab_username"})
    erasable: ClassVar[frozenset[str]] = frozenset({"username"})

    user_id: int
    user_uuid: str
    username: str
    sealed_password_hash: str
    email: str | None = None
    roles: tuple[str, ...]
    github_username: str | None = None
    gitlab_username: str | None = None


class UserRenamed(Event):
    """The username of a user changed, which is also part of the paths of the user's projects."""

    erasable: ClassVar[frozenset[str]] = frozenset({"username", "former_username"})

    user_id: int
    username: str
    former_username: str


class UserEmailChanged(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"email"})

    user_id: int
    email: str | None = None


class UserPasswordChanged(Event):
    """The password of a user changed. Tokens with an older epoch are invalid."""

    user_id: int
    sealed_password_hash: str
    epoch: int


class UserRolesChanged(Event):
    """The roles of a user changed. Tokens with an older epoch are invalid."""

    user_id: int
    roles: tuple[str, ...]
    epoch: int


class UserEnabled(Event):
    user_id: int
    epoch: int


class UserDisabled(Event):
    """A user was disabled. Tokens with an older epoch are invalid."""

    user_id: int
    epoch: int


class UserProviderNamesChanged(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"github_username", "gitlab_username"})

    user_id: int
    github_username: str | None = None
    gitlab_username: str | None = None


class AdministratorAnchored(Event):
    """Releases up to 0.2.0 recorded this event to keep one administrator; later ones do not, but must still read it."""

    user_id: int
    anchor: int


class UserDeleted(Event):
    """A user was deleted. The name and the personal data of the user are erased."""

    erasable: ClassVar[frozenset[str]] = frozenset({"username"})

    user_id: int
    user_uuid: str = ""  # empty if recorded by a release up to 0.2.0
    username: str = ""  # empty, except in events of releases up to 0.2.0


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
    """Get a user by id or username (case-insensitive). Answer: UserView. Errors: DEVELOPER_NOT_FOUND."""

    user_id: int | None = None
    username: str | None = None


class ListUsers(PageRequest):
    """List all users, ordered by id. Answer: Page of UserView.

    With `user_ids`, list the users with these ids. Answer: Users. Errors: DEVELOPER_NOT_FOUND if one does not exist.
    """

    user_ids: tuple[int, ...] | None = None

    @model_serializer(mode="wrap")
    def _omit_page(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the fields of the page if `user_ids` is set: services of release 0.2.0 reject them."""
        return {"user_ids": self.user_ids} if self.user_ids is not None else serialize(self)


class Users(Message):
    users: tuple[UserView, ...]


class ListUsersPage(FilteredPageRequest, wire_name="PageUsers"):
    """List users. Answer: Page.

    Columns to filter and sort by: developer_id, user_username, developer_email, user_role, id.
    """


class ListUserSummaries(PageRequest, wire_name="FindUsers"):
    """List users by name. With `email` or `username`, list only the users who have them (case-insensitive).

    Answer: Page of UserSummary.
    """

    email: str | None = None
    username: str | None = None


class UserSummary(Message):
    """A user in a search result: fewer fields than UserView."""

    uuid: str
    username: str
    email: str | None


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
    | UserIdentityLinked
    | UserIdentityUnlinked
    | UserDeleted
    | ApiTokenCreated
    | ApiTokenRevoked
)
