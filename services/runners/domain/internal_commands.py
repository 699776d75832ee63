"""Internal commands of the runners service, which its policies, workers and handlers send to its deciders."""

from dataclasses import dataclass

from contracts.runners import OwnerType, RunnerInfo, RunnerSettings
from libs.eventstore.decider import InternalCommand


@dataclass(frozen=True)
class AddRunner(InternalCommand):
    """Add a runner of the owner of a registration token, with new ids and the hash of its own token."""

    runner_uuid: str
    runner_id: int
    token_hash: str
    owner_type: OwnerType
    owner_id: int | None
    settings: RunnerSettings
    info: RunnerInfo


@dataclass(frozen=True)
class SetRunnerToken(InternalCommand):
    runner_uuid: str
    token_hash: str


@dataclass(frozen=True)
class IssueRegistrationToken(InternalCommand):
    """Give a scope its first registration token, unless it has one."""

    scope: str
    token_hash: str
    token_sealed: str


@dataclass(frozen=True)
class ReplaceRegistrationToken(InternalCommand):
    """Replace the registration token of a scope. The old one becomes invalid."""

    scope: str
    token_hash: str
    token_sealed: str


@dataclass(frozen=True)
class WithdrawRegistrationToken(InternalCommand):
    """Withdraw the token of a deleted company or project. The scope never gets a token again."""

    scope: str


@dataclass(frozen=True)
class UpdateRunnerInfo(InternalCommand, wire_name="NoteRunnerInfo"):
    """Record what a runner reports about itself, if it has changed."""

    runner_uuid: str
    info: RunnerInfo


@dataclass(frozen=True)
class MarkRunnerOnline(InternalCommand):
    """Mark a runner as online, after a call."""

    runner_uuid: str


@dataclass(frozen=True)
class MarkRunnerOffline(InternalCommand):
    """Mark a runner as offline, because it made no call for too long."""

    runner_uuid: str
