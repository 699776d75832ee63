"""Messages for the calls of runners: authentication and heartbeats."""

from contracts.messages import Command, Sensitive
from contracts.runners.fields import OwnerType, RunnerInfo, RunnerSettings


class AuthenticateRunner(Command, wire_name="TouchRunner"):
    """Authenticate a runner's call and record its heartbeat. Answer: RunnerProfile. Errors: RUNNER_TOKEN."""

    token: Sensitive
    ip_address: str = ""
    info: RunnerInfo | None = None  # what the runner reports about itself; None: nothing


class RecordRunnerHeartbeat(Command, wire_name="NoticeRunner"):
    """Record a runner's heartbeat from a call with a job token. Errors: RUNNER_NOT_FOUND.

    Answer: CommandReply with the RunnerProfile as row, and without the version of the stream.
    """

    runner_uuid: str
    ip_address: str = ""


class RunnerProfile(RunnerSettings):
    """A runner with its owner and its settings, which decide the jobs that the runner may take."""

    runner_id: int
    runner_uuid: str
    owner_type: OwnerType
    owner_id: int | None
