"""Calls of a runner: who it is, and that it is there."""

from contracts.messages import Command, Sensitive
from contracts.runners.fields import OwnerType, RunnerInfo, RunnerSettings


class AuthenticateRunner(Command, wire_name="TouchRunner"):
    """A call of the runner that holds this token; also verifies the token. Answers RunnerProfile, or RUNNER_TOKEN."""

    token: Sensitive
    ip_address: str = ""
    info: RunnerInfo | None = None  # None: as it said before


class RecordRunnerHeartbeat(Command, wire_name="NoticeRunner"):
    """A sign of life that came another way, as with a job's token. Answers Done with the RunnerProfile as its row."""

    runner_uuid: str
    ip_address: str = ""


class RunnerProfile(RunnerSettings):
    """What decides which jobs the runner may take."""

    runner_id: int
    runner_uuid: str
    owner_type: OwnerType
    owner_id: int | None
