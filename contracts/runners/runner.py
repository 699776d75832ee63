"""Messages about runners, from registration to deletion."""

from datetime import UTC, datetime

from pydantic import Field

from contracts.messages import Command, Event, Message, Query, ReadModelRow, Sensitive
from contracts.paging import PageRequest
from contracts.runners.fields import OwnerType, RunnerInfo, RunnerSettings


class RegisterRunner(RunnerSettings, Command):
    """Register a runner for the scope of the registration token. Answer: RunnerRegistration with the runner's token.

    Without a name, the description is used, else the reported name, else a generated name. Errors: REGISTRATION_TOKEN,
    RUNNER_INVALID.
    """

    registration_token: Sensitive
    info: RunnerInfo = RunnerInfo()
    ip_address: str = ""


class EditRunner(Command):
    """Change settings of a runner. Omitted fields stay unchanged. Errors: RUNNER_NOT_FOUND, RUNNER_INVALID."""

    runner_uuid: str
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    run_untagged: bool | None = None
    locked: bool | None = None
    protected: bool | None = None
    active: bool | None = None
    max_timeout_seconds: int | None = None  # 0: no limit; None: unchanged


class PauseRunner(Command, wire_name="ShutDownRunner"):
    """Pause a runner: it finishes its jobs and gets no new ones. EditRunner(active=True) resumes it.

    Errors: RUNNER_NOT_FOUND.
    """

    runner_uuid: str


class DeleteRunner(Command):
    """Delete a runner. Its token becomes invalid. Its jobs fail or are retried.

    Errors: RUNNER_NOT_FOUND.
    """

    runner_uuid: str


class ResetRunnerToken(Command):
    """Replace the token of a runner. The old token becomes invalid immediately. Answer: RunnerRegistration.

    Errors: RUNNER_NOT_FOUND.
    """

    runner_uuid: str


class GetRunner(Query):
    """Get a runner by one of the two ids. Answer: RunnerView. Errors: RUNNER_NOT_FOUND."""

    runner_uuid: str = ""
    runner_id: int = 0


class ListRunners(PageRequest):
    """List runners, the latest contact first. Answer: Page of RunnerView.

    Errors: PROJECT_NOT_FOUND if the actor may not see the project that `owner_id` names.
    """

    owner_type: OwnerType | None = None  # None: runners of all owners
    owner_id: int | None = None


class RunnerRegistration(Message):
    id: int
    uuid: str
    token: Sensitive
    token_expires_at: datetime | None = None  # always None: tokens do not expire


class RunnerView(RunnerSettings):
    """A runner with its settings and its last contact."""

    id: int
    uuid: str
    owner_type: OwnerType
    owner_id: int | None
    online: bool
    registered_at: datetime
    connected_at: datetime
    ip_address: str
    info: RunnerInfo


class RunnerRegistered(RunnerSettings, Event):
    """A runner was registered. The event has all settings. The runner is offline until its first call."""

    runner_uuid: str
    runner_id: int
    token_hash: str
    owner_type: OwnerType
    owner_id: int | None
    info: RunnerInfo
    ip_address: str = ""  # empty, except in events of release 0.1.0: IP addresses are personal data


class RunnerEdited(RunnerSettings, Event):
    """The settings of a runner changed. The event has all settings."""

    runner_uuid: str
    runner_id: int


class RunnerInfoChanged(Event):
    """A runner reported other information about itself than before, such as a new version.

    The event is recorded at most once in five minutes, except if the runner was registered without information.
    """

    runner_uuid: str
    runner_id: int
    info: RunnerInfo
    name: str = ""


class RunnerOnline(Event):
    """A runner made a call, for the first time or after being offline."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerOffline(Event):
    """A runner made no call for too long."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerPaused(Event, wire_name="RunnerShutDown"):
    """A runner was paused: it gets no new jobs, and `active` is false."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerDeleted(Event):
    """A runner was deleted, and its token is invalid. JobFinished, JobRetried or JobLost of its jobs follows."""

    runner_uuid: str
    runner_id: int
    name: str = ""


class RunnerTokenReset(Event):
    """The token of a runner was replaced. The former token is invalid."""

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
    info_at: datetime = datetime.min.replace(tzinfo=UTC)  # when `info` was recorded
    ip_address: str = ""  # IP address at registration; empty, except for runners registered with release 0.1.0


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
