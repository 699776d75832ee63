"""Model test of runners: registered once, changed by administrators and their own calls, until they are deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from contracts.runners import (
    DeleteRunner,
    EditRunner,
    PauseRunner,
    RunnerDeleted,
    RunnerInfo,
    RunnerOffline,
    RunnerOnline,
    RunnerRegistered,
    RunnerRow,
    RunnerSettings,
)
from services.runners.domain.internal_commands import (
    AddRunner,
    MarkRunnerOffline,
    MarkRunnerOnline,
    SetRunnerToken,
    UpdateRunnerInfo,
)
from services.runners.domain.runner import RunnerCommand
from services.runners.projections import runner_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

UUIDS = ("r1", "r2")
NAMES = ("", " ", "miller", " baker ", "x" * 256)
TAGS = ((), ("linux",), (" linux ", "", "linux"), ("arm", "linux"), ("x" * 256,), tuple(map(str, range(101))))
TIMEOUTS = (None, 0, 60, -1, 10**9 + 1)


@dataclass(frozen=True)
class RunnerModel:
    """The expected state of a runner."""

    name: str = ""
    tags: tuple[str, ...] = ()
    timeout: int | None = None
    active: bool = True
    online: bool = False
    info: str = ""
    token: str = ""
    deleted: bool = False

    def send(self, command: RunnerCommand) -> tuple["RunnerModel", str]:
        if self.deleted:
            is_late = isinstance(command, AddRunner | UpdateRunnerInfo | MarkRunnerOnline | MarkRunnerOffline)
            return self, IGNORED if is_late else "RUNNER_NOT_FOUND"
        match command:
            case DeleteRunner():
                changed = replace(self, deleted=True)
            case EditRunner():
                changed = self.edited(command.name, command.tags, command.max_timeout_seconds, command.active)
                if not changed.is_valid:
                    return self, "RUNNER_INVALID"
            case PauseRunner():
                changed = replace(self, active=False)
            case MarkRunnerOnline() | MarkRunnerOffline():
                changed = replace(self, online=isinstance(command, MarkRunnerOnline))
            case UpdateRunnerInfo(info=info):
                changed = replace(self, info=info.version)
            case SetRunnerToken(token_hash=token):
                return replace(self, token=token), ACCEPTED  # recorded even if the token is the same
            case _:
                changed = self  # the runner is registered a second time
        return changed, IGNORED if changed == self else ACCEPTED

    def edited(
        self, name: str | None, tags: tuple[str, ...] | None, timeout: int | None, active: bool | None
    ) -> "RunnerModel":
        return replace(
            self,
            name=self.name if name is None else name.strip(),
            tags=self.tags if tags is None else tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())),
            timeout=self.timeout if timeout is None else (timeout or None),
            active=self.active if active is None else active,
        )

    @property
    def is_valid(self) -> bool:
        return (
            bool(self.name)
            and all(len(text) < 256 for text in (self.name, *self.tags))
            and len(self.tags) <= 100
            and (self.timeout is None or 0 < self.timeout <= 10**9)
        )


@dataclass(frozen=True)
class Fleet:
    runners: Mapping[str, RunnerModel] = field(default_factory=dict)  # runners by UUID

    def send(self, command: RunnerCommand) -> tuple["Fleet", str]:
        uuid = command.runner_uuid
        if runner := self.runners.get(uuid):
            changed, verdict = runner.send(command)
        elif isinstance(command, AddRunner):
            settings, info = command.settings, command.info.version
            changed = RunnerModel(token=command.token_hash, info=info).edited(
                settings.name, settings.tags, settings.max_timeout_seconds, settings.active
            )
            if not changed.is_valid:
                return self, "RUNNER_INVALID"
            verdict = ACCEPTED
        else:
            return self, "RUNNER_NOT_FOUND"
        return Fleet({**self.runners, uuid: changed}), verdict


uuids = st.sampled_from(UUIDS)
timeouts = st.sampled_from(TIMEOUTS)
hashes = st.sampled_from(("hash-1", "hash-2"))
infos = st.sampled_from(("1.0", "2.0")).map(lambda version: RunnerInfo(version=version))
new_settings = st.builds(
    lambda name, tags, timeout, active: RunnerSettings(
        name=name, tags=tags, max_timeout_seconds=timeout, active=active
    ),
    st.sampled_from((*NAMES[2:4], "")),
    st.sampled_from(TAGS[:4]),
    timeouts,
    st.booleans(),
)


class RunnerMachine(DeciderMachine[Fleet]):
    categories = (runner_category,)
    deletions = (RunnerDeleted,)
    commands = seldom(
        st.builds(DeleteRunner, runner_uuid=uuids),
        st.one_of(
            st.builds(
                lambda uuid, token, settings, info: AddRunner(
                    uuid, UUIDS.index(uuid) + 1, token, "GLOBAL", None, settings, info
                ),
                uuids,
                hashes,
                new_settings,
                infos,
            ),
            st.builds(
                EditRunner,
                runner_uuid=uuids,
                name=st.none() | st.sampled_from(NAMES),
                tags=st.none() | st.sampled_from(TAGS),
                active=st.none() | st.booleans(),
                max_timeout_seconds=timeouts,
            ),
            st.builds(PauseRunner, runner_uuid=uuids),
            st.builds(SetRunnerToken, uuids, hashes),
            st.builds(UpdateRunnerInfo, uuids, infos),
            st.builds(MarkRunnerOnline, uuids),
            st.builds(MarkRunnerOffline, uuids),
        ),
    )

    def new_model(self) -> Fleet:
        return Fleet()

    @invariant()
    def each_runner_has_what_was_set_last(self) -> None:
        for uuid, runner in self.model.runners.items():
            row = self.followed[f"runner-{uuid}"].row
            assert isinstance(row, RunnerRow)
            assert (row.uuid, row.id) == (uuid, UUIDS.index(uuid) + 1)
            assert (row.name, row.tags, row.max_timeout_seconds) == (runner.name, runner.tags, runner.timeout)
            assert (row.active, row.online) == (runner.active, runner.online)
            assert (row.token_hash, row.info.version, row.deleted) == (runner.token, runner.info, runner.deleted)

    @invariant()
    def a_runner_is_registered_once(self) -> None:
        for uuid in self.model.runners:
            registrations = [isinstance(event, RunnerRegistered) for event in self.events_of(f"runner-{uuid}")]
            assert registrations == [True] + [False] * (len(registrations) - 1)

    @invariant()
    def a_runner_goes_online_and_offline_in_turn(self) -> None:
        for uuid in self.model.runners:
            changes = [
                type(event)
                for event in self.events_of(f"runner-{uuid}")
                if isinstance(event, RunnerOnline | RunnerOffline)
            ]
            assert changes == ([RunnerOnline, RunnerOffline] * len(changes))[: len(changes)]


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_runners_follow_the_model() -> None:
    run_machine(RunnerMachine)
