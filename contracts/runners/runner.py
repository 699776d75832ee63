"""A runner: registered, changed, shut down, deleted; and what people ask about it."""

from datetime import UTC, datetime

from pydantic import Field

from contracts.messages import Command, Event, Message, Query, ReadModelRow, Sensitive
from contracts.paging import SliceQuery
from contracts.runners.fields import OwnerType, RunnerInfo, RunnerSettings

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


class PauseRunner(Command, wire_name="ShutDownRunner"):
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


class UpdateRunnerInfo(Command, wire_name="NoteRunnerInfo"):
    """The runner says something new about itself."""

    runner_uuid: str
    info: RunnerInfo


class MarkRunnerOnline(Command):
    runner_uuid: str


class MarkRunnerOffline(Command):
    runner_uuid: str


# queries and answers


class GetRunner(Query):
    """Answers RunnerView, or RUNNER_NOT_FOUND. Either of the two ids."""

    runner_uuid: str = ""
    runner_id: int = 0


class ListRunners(SliceQuery):
    """Answers a Page of RunnerView, the latest contact first."""

    owner_type: OwnerType | None = None  # None: of all owners
    owner_id: int | None = None


class RunnerRegistration(Message):
    id: int
    uuid: str
    token: Sensitive
    token_expires_at: datetime | None = None  # never, so far


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


# events


class RunnerRegistered(RunnerSettings, Event):
    """A new runner, with all its settings. It is offline until it is heard of."""

    runner_uuid: str
    runner_id: int
    token_hash: str
    owner_type: OwnerType
    owner_id: int | None
    info: RunnerInfo
    ip_address: str = ""  # only where 0.1.0 recorded it: where a runner is seen is personal, and in no event


class RunnerEdited(RunnerSettings, Event):
    """All settings as they are from now on."""

    runner_uuid: str
    runner_id: int


class RunnerInfoChanged(Event):
    """It says something new about itself: another version, another machine. Told once in some minutes at most."""

    runner_uuid: str
    runner_id: int
    info: RunnerInfo
    name: str = ""


class RunnerOnline(Event):
    """It is heard of, for the first time or again."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerOffline(Event):
    """The runner was silent for too long."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerPaused(Event, wire_name="RunnerShutDown"):
    """It gets no new jobs: `active` is false from now on."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerDeleted(Event):
    """For ever; its token opens nothing. JobFinished of the jobs that it had follows."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerTokenReset(Event):
    """The former token opens nothing any more."""

    runner_uuid: str
    runner_id: int
    token_hash: str


class RunnerRow(RunnerSettings, ReadModelRow):
    id: int = 0
    uuid: str = ""
    token_hash: str = Field(default="", repr=False)
    owner_type: OwnerType = "GLOBAL"
    owner_id: int | None = None
    online: bool = False
    deleted: bool = False
    registered_at: datetime = datetime.min.replace(tzinfo=UTC)
    info: RunnerInfo = RunnerInfo()
    info_at: datetime = datetime.min.replace(tzinfo=UTC)  # when it was recorded
    ip_address: str = ""  # at registration, of what 0.1.0 recorded


RunnerCommand = (
    RecordRunner
    | EditRunner
    | PauseRunner
    | DeleteRunner
    | RecordRunnerToken
    | UpdateRunnerInfo
    | MarkRunnerOnline
    | MarkRunnerOffline
)
RunnerEvent = (
    RunnerRegistered
    | RunnerEdited
    | RunnerInfoChanged
    | RunnerOnline
    | RunnerOffline
    | RunnerPaused
    | RunnerDeleted
    | RunnerTokenReset
)
