"""Messages for the calls of runners: authentication and heartbeats."""

from contracts.messages import Command, Sensitive
from contracts.runners.fields import OwnerType, RunnerInfo, RunnerSettings


class AuthenticateRunner(Command, wire_name="TouchRunner"):
    """Authenticate a runner's call and record its heartbeat. Answer: RunnerProfile. Errors: RUNNER_TOKEN."""

    token: Sensitive
    ip_address: str = ""
    info: RunnerInfo | None = None  # None: the runner's info is unchanged


class RecordRunnerHeartbeat(Command, wire_name="NoticeRunner"):
    """Record a runner's heartbeat from a call with a job token. Answer: CommandReply with the RunnerProfile as row."""

    runner_uuid: str
    ip_address: str = ""


class RunnerProfile(RunnerSettings):
    """The properties that decide which jobs a runner may take."""

    runner_id: int
    runner_uuid: str
    owner_type: OwnerType
    owner_id: int | None
