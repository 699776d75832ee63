"""What crosses a wire about runners: registration, settings, presence, and the tokens that make new ones."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from contracts.messages import Command, Event, Message, Query, Row, Sensitive

OwnerType = Literal["GLOBAL", "COMPANY", "PROJECT"]

Scope = Annotated[str, Field(pattern=r"^(service|(company|project)-[1-9][0-9]{0,17})$")]
"""Whom a registration token makes runners for: "service", "company-4" or "project-84"."""


def _words(value: Any) -> str:
    return value[:255] if isinstance(value, str) else ""


Words = Annotated[str, BeforeValidator(_words)]  # short text; anything else that a runner sends counts as nothing


class RunnerInfo(Message):
    """What a runner says about itself at each call; members nobody reads are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Words = ""
    version: Words = ""
    platform: Words = ""
    architecture: Words = ""
    executor: Words = ""


class RunnerSettings(Message):
    """What an administrator can change."""

    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    locked: bool = False
    protected: bool = False
    active: bool = True
    max_timeout_seconds: int | None = None  # None: no limit


# commands


class RegisterRunner(RunnerSettings, Command):
    """Make a runner for the scope of the registration token. Answers RunnerRegistration with the runner's own token.

    Without a name it is called after its description, or as it calls itself.
    """

    registration_token: Sensitive
    info: RunnerInfo = RunnerInfo()
    ip_address: str = ""


class RecordRunner(RunnerSettings, Command):
    """The second half of RegisterRunner: what is kept of it. Only the service itself gives it."""

    runner_uuid: str
    runner_id: int
    token_hash: str
    owner_type: OwnerType
    owner_id: int | None
    info: RunnerInfo
    ip_address: str


class EditRunner(Command):
    """Change what is given; None leaves a setting as it is."""

    runner_uuid: str
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    run_untagged: bool | None = None
    locked: bool | None = None
    protected: bool | None = None
    active: bool | None = None
    max_timeout_seconds: int | None = None  # 0: no limit


class ShutDownRunner(Command):
    """No new jobs; those it has are finished. Undone by EditRunner(active=True)."""

    runner_uuid: str


class DeleteRunner(Command):
    runner_uuid: str


class ResetRunnerToken(Command):
    """A new token for the runner, the old one is void at once. Answers RunnerRegistration."""

    runner_uuid: str


class RecordRunnerToken(Command):
    """The second half of ResetRunnerToken. Only the service itself gives it."""

    runner_uuid: str
    token_hash: str


class MarkRunnerOnline(Command):
    runner_uuid: str


class MarkRunnerOffline(Command):
    runner_uuid: str


class IssueRegistrationToken(Command):
    """A registration token for the scope, unless it has one."""

    scope: Scope
    token_hash: str = ""  # filled in by the service
    token_sealed: str = ""  # filled in by the service


class ResetRegistrationToken(Command):
    """A new registration token for the scope; the old one registers nobody from now on."""

    scope: Scope
    token_hash: str = ""  # filled in by the service
    token_sealed: str = ""  # filled in by the service


class TouchRunner(Command):
    """A call of the runner that holds this token; also verifies the token. Answers RunnerProfile, or RUNNER_TOKEN."""

    token: Sensitive
    ip_address: str = ""
    info: RunnerInfo | None = None  # None: as it said before


class NoticeRunner(Command):
    """A sign of life that came another way, as with a job's token. Answers Done with the RunnerProfile as its row."""

    runner_uuid: str
    ip_address: str = ""


# queries


class GetRunner(Query):
    """Answers RunnerView, or RUNNER_NOT_FOUND. Either of the two ids."""

    runner_uuid: str = ""
    runner_id: int = 0


class ListRunners(Query):
    """Answers a Page of RunnerView, the latest contact first."""

    owner_type: OwnerType | None = None  # None: of all owners
    owner_id: int | None = None
    page: int = Field(default=1, ge=1)
    per_page: int = Field(default=10, ge=1, le=1000)


class GetRegistrationInfo(Query):
    """Answers RegistrationInfo; a scope that was never asked about gets its token now."""

    scope: Scope = "service"


# answers


class RunnerRegistration(Message):
    id: int
    uuid: str
    token: Sensitive
    token_expires_at: datetime | None = None  # never, so far


class RunnerProfile(RunnerSettings):
    """What decides which jobs the runner may take."""

    runner_id: int
    runner_uuid: str
    owner_type: OwnerType
    owner_id: int | None


class RunnerView(RunnerSettings):
    """A runner as administrators see it: its settings and its last contact."""

    id: int
    uuid: str
    owner_type: OwnerType
    owner_id: int | None
    online: bool
    registered_at: datetime
    connected_at: datetime
    ip_address: str
    info: RunnerInfo


class RegistrationInfo(Message):
    id: str = "1"
    scope: str
    registration_token: Sensitive


# events


class RunnerRegistered(RunnerSettings, Event):
    runner_uuid: str
    runner_id: int
    token_hash: str
    owner_type: OwnerType
    owner_id: int | None
    info: RunnerInfo
    ip_address: str


class RunnerEdited(RunnerSettings, Event):
    """All settings as they are from now on."""

    runner_uuid: str
    runner_id: int


class RunnerOnline(Event):
    runner_uuid: str
    runner_id: int


class RunnerOffline(Event):
    """The runner was silent for too long."""

    runner_uuid: str
    runner_id: int


class RunnerShutDown(Event):
    runner_uuid: str
    runner_id: int


class RunnerDeleted(Event):
    runner_uuid: str
    runner_id: int


class RunnerTokenReset(Event):
    runner_uuid: str
    runner_id: int
    token_hash: str


class RegistrationTokenReset(Event):
    """The scope has a new token; also recorded for its first one."""

    scope: str
    token_hash: str
    token_sealed: str


# rows


class RunnerRow(RunnerSettings, Row):
    id: int = 0
    uuid: str = ""
    token_hash: str = Field(default="", repr=False)
    owner_type: OwnerType = "GLOBAL"
    owner_id: int | None = None
    online: bool = False
    deleted: bool = False
    registered_at: datetime = datetime.min.replace(tzinfo=UTC)
    info: RunnerInfo = RunnerInfo()
    ip_address: str = ""  # at registration; the present one is a matter of presence


class RegistrationRow(Row):
    scope: str = ""
    token_hash: str = Field(default="", repr=False)
    token_sealed: str = Field(default="", repr=False)
    reset_at: datetime | None = None


RunnerCommand = (
    RecordRunner | EditRunner | ShutDownRunner | DeleteRunner | RecordRunnerToken | MarkRunnerOnline | MarkRunnerOffline
)
RunnerEvent = (
    RunnerRegistered | RunnerEdited | RunnerOnline | RunnerOffline | RunnerShutDown | RunnerDeleted | RunnerTokenReset
)
RegistrationCommand = IssueRegistrationToken | ResetRegistrationToken
RegistrationEvent = RegistrationTokenReset
