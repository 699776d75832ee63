"""Base class of model tests: deciders under commands in any order, concurrent appends, repetitions and restarts.

A machine sends drawn commands to replicas of a service. A replica is the real command handler with its own cache; all
replicas share an event store in memory. What happened is compared with a model, a short description of the rules. See
docs/developing/testing.md.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise, permutations
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contracts.errors import CODES, RequestRejected
from contracts.messages import Event
from libs.eventstore.decider import AnyCategory, AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.repository import CommandHandler, CommandResult
from tests.support.model_tests.json_event_store import JsonEventStore, through_json

ACCEPTED, IGNORED = "accepted", "ignored"  # verdicts on a command; the third one is the code of the rejection
CLOCK_OFFSETS = (timedelta(), timedelta(seconds=-30))  # one replica for each; their clocks differ
START = datetime(2030, 5, 1, tzinfo=UTC)
EXAMPLES_SHARE = 5  # divides the profile's number of examples, because a sequence takes longer than an example
MAX_RULES = 25  # maximum number of rules in a sequence; a rule sends up to five commands


def seldom(rare: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw mostly from `usual`: a sequence should go on for a while before it deletes something."""
    return st.integers(0, 15).flatmap(lambda number: rare if number == 7 else usual)


class Model(Protocol):
    """The expected behavior of the deciders, in a simple form. A model is immutable."""

    def send(self, command: Any) -> tuple[Self, str]:
        """Return the model after a command, and the verdict: ACCEPTED, IGNORED or the code of the rejection."""
        ...


M = TypeVar("M", bound=Model)

DRAWN_COMMAND: st.SearchStrategy[AnyCommand] = st.runner().flatmap(lambda machine: machine.commands)
SEVERAL_COMMANDS = st.runner().flatmap(lambda machine: st.lists(machine.commands, min_size=1, max_size=5))
REPLICA_NUMBERS = st.integers(0, len(CLOCK_OFFSETS) - 1)


def run_machine(machine: type[RuleBasedStateMachine], max_rules: int = MAX_RULES) -> None:
    """Run a machine with settings that depend on the profile in use (tests/conftest.py)."""
    profile = hypothesis.settings()
    settings = hypothesis.settings(
        profile,
        max_examples=max(1, profile.max_examples // EXAMPLES_SHARE),
        stateful_step_count=max_rules,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(machine, settings=settings)


@dataclass(frozen=True)
class Request:
    command: AnyCommand
    metadata: CommandMetadata


@dataclass(frozen=True)
class Answer:
    request: Request
    verdict: str
    result: CommandResult[Any] | None = None


@dataclass
class Followed:
    """The state, the row and all events of a stream, according to the commits seen so far."""

    state: Any
    row: Any
    history: list[AnyEvent] = field(default_factory=list)


class DeciderMachine(RuleBasedStateMachine, Generic[M]):
    """A test that compares deciders with a model.

    Subclasses declare categories, commands and model, and add invariants.
    """

    categories: ClassVar[tuple[AnyCategory, ...]]
    commands: ClassVar[st.SearchStrategy[Any]]  # may depend on the model, which is `st.runner()`'s `model`
    deletions: ClassVar[tuple[type[Event], ...]] = ()  # events after which a stream accepts nothing

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.store = JsonEventStore()
        self.replicas = [CommandHandler(self.store) for _ in CLOCK_OFFSETS]
        self.by_command = {command: category for category in self.categories for command in category.decider.commands}
        self.model: M = self.new_model()
        self.answers: list[Answer] = []  # one answer per command; answers to repetitions are left out
        self.followed: dict[str, Followed] = {}
        self.followed_commits = 0
        self.changed: set[str] = set()  # streams changed since the last check of the invariants
        self.has_checked = False  # the invariants were checked for `changed`
        self.number = 0  # number of the last command

    def teardown(self) -> None:
        self.loop.close()

    @abstractmethod
    def new_model(self) -> M: ...

    @rule(commands=SEVERAL_COMMANDS, replica=REPLICA_NUMBERS, has_key=st.booleans(), is_restarted=st.booleans())
    def send(self, commands: Sequence[AnyCommand], replica: int, has_key: bool, is_restarted: bool) -> None:
        """Send commands one after the other, perhaps with idempotency keys, to a replica that may have no cache yet."""
        if is_restarted:
            self.replicas[replica] = CommandHandler(self.store)
        for command in commands:
            self.exchange([self.new_request(command, replica, has_key=has_key)], [replica])

    @rule(commands=st.runner().flatmap(lambda machine: st.lists(machine.commands, min_size=2, max_size=3)))
    def send_at_once(self, commands: Sequence[AnyCommand]) -> None:
        """Send commands to different replicas at once. The model must give the same verdicts for one order of them."""
        replicas = [number % len(self.replicas) for number in range(len(commands))]
        requests = [self.new_request(command, replica) for command, replica in zip(commands, replicas, strict=True)]
        self.exchange(requests, replicas)

    @rule(command=DRAWN_COMMAND)
    def send_to_all_replicas(self, command: AnyCommand) -> None:
        """Send one command to all replicas at once. It is recorded at most once, and all answers have one version."""
        request = self.new_request(command, 0, has_key=True)
        answers = self._run([request for _ in self.replicas], range(len(self.replicas)))
        accepted = [answer for answer in answers if answer.verdict == ACCEPTED]
        assert len(accepted) <= 1, "one command was recorded twice"
        decisive = accepted[0] if accepted else answers[0]
        self._compare_with_model([decisive])
        for answer in answers:
            assert answer is decisive or answer.verdict == (IGNORED if accepted else decisive.verdict)
            assert _version(answer) == _version(decisive)

    @precondition(lambda machine: machine.repeatable())
    @rule(
        number=st.runner().flatmap(lambda machine: st.integers(0, len(machine.repeatable()) - 1)),
        replica=REPLICA_NUMBERS,
    )
    def repeat(self, number: int, replica: int) -> None:
        """Repeat a command whose result is stored. The answer equals the first one, and nothing is recorded."""
        earlier = self.repeatable()[number]
        request = replace(earlier.request, metadata=replace(earlier.request.metadata, may_be_duplicate=True))
        length = len(self.store.log)
        [answer] = self._run([request], [replica])
        assert answer.verdict == IGNORED, f"the repetition was {answer.verdict}"
        assert len(self.store.log) == length
        assert _version(answer) == _version(earlier)
        assert answer.result
        assert earlier.result
        assert answer.result.row == earlier.result.row

    @invariant()
    def a_rejected_command_records_nothing(self) -> None:
        accepted = {answer.request.metadata.command_id for answer in self.answers if answer.verdict == ACCEPTED}
        assert len(accepted) == len(self.store.log)
        assert {commit.metadata.command_id for commit in self.store.log} == accepted

    @invariant()
    def every_rejection_has_a_declared_error_code(self) -> None:
        assert {answer.verdict for answer in self.answers} <= {ACCEPTED, IGNORED, *CODES}

    @invariant()
    def a_replay_from_the_log_gives_the_same_state_and_row(self) -> None:
        for stream in self.changed:
            category, followed = self._category_of(stream), self.followed[stream]
            replayed = [replace(recorded, event=through_json(recorded.event)) for recorded in followed.history]
            state = reduce(category.decider.evolve, (recorded.event for recorded in replayed), category.decider.initial)
            assert state == followed.state
            row = reduce(category.apply, replayed, category.initial_row)
            assert row == followed.row
            assert type(row).model_validate_json(row.model_dump_json()) == row
            assert self.store.rows[stream] == (None if category.is_deleted(row) else row)

    @invariant()
    def versions_of_a_stream_have_no_gaps_and_its_times_never_decrease(self) -> None:
        for stream in self.changed:
            commits = [commit for commit in self.store.log if commit.stream == stream]
            assert [commit.version for commit in commits] == list(range(1, len(commits) + 1))
            assert all(earlier.metadata.at <= later.metadata.at for earlier, later in pairwise(commits))

    @invariant()
    def a_deleted_thing_accepts_nothing(self) -> None:
        self.has_checked = True
        for stream in self.changed:
            events = self.events_of(stream)
            assert not any(isinstance(event, self.deletions) for event in events[:-1])

    def events_of(self, stream: str) -> list[Event]:
        return [recorded.event for recorded in self.followed[stream].history] if stream in self.followed else []

    def repeatable(self) -> list[Answer]:
        """Return the answers that are stored: to recorded commands, and to commands with a key that changed nothing."""
        return [
            answer
            for answer in self.answers
            if answer.verdict == ACCEPTED or (answer.verdict == IGNORED and answer.request.metadata.fingerprint)
        ]

    def new_request(self, command: AnyCommand, replica: int, *, has_key: bool = False) -> Request:
        number = self.number = self.number + 1
        at = START + timedelta(seconds=number) + CLOCK_OFFSETS[replica]
        fingerprint = f"request {number}" if has_key else ""
        metadata = CommandMetadata(f"command-{number}", at, may_be_duplicate=has_key, fingerprint=fingerprint)
        return Request(command, metadata)

    def send_in_turn(self, *commands: AnyCommand) -> None:
        """Send commands one after the other to the first replica."""
        for command in commands:
            self.exchange([self.new_request(command, 0)], [0])

    def exchange(self, requests: Sequence[Request], replicas: Sequence[int]) -> None:
        self._compare_with_model(self._run(requests, replicas))

    def _run(self, requests: Sequence[Request], replicas: Sequence[int]) -> list[Answer]:
        async def run() -> list[Answer]:
            return await asyncio.gather(*map(self._handle, requests, replicas))

        return self.loop.run_until_complete(run())

    async def _handle(self, request: Request, replica: int) -> Answer:
        """Handle a command as the runtime of a service does."""
        handler, metadata = self.replicas[replica], request.metadata
        try:
            if metadata.may_be_duplicate and (commit := await handler.find_commit(metadata)):
                result = await handler.replay_result(self._category_of(commit.stream), commit, metadata)
            else:
                result = await handler.handle(self.by_command[type(request.command)], request.command, metadata)
        except RequestRejected as rejected:
            return Answer(request, rejected.code)
        return Answer(request, ACCEPTED if result.new_events else IGNORED, result)

    def _compare_with_model(self, answers: Sequence[Answer]) -> None:
        """Require that the model gives the same verdicts if it gets the commands in one of their possible orders."""
        positions = {commit.metadata.command_id: position for position, commit in enumerate(self.store.log)}
        expected: list[str] = []
        for order in permutations(answers):
            recorded = [positions[answer.request.metadata.command_id] for answer in order if answer.verdict == ACCEPTED]
            if recorded != sorted(recorded):
                continue
            model, expected = self.model, []
            for answer in order:
                model, verdict = model.send(answer.request.command)
                expected.append(verdict)
            if expected == [answer.verdict for answer in order]:
                self.model = model
                break
        else:
            raise AssertionError(f"{[answer.verdict for answer in answers]} instead of {expected}")
        self.answers += answers
        self._follow()

    def _follow(self) -> None:
        """Apply the new events to the states and rows."""
        commits = self.store.log[self.followed_commits :]
        self.followed_commits += len(commits)
        if self.has_checked:
            self.changed, self.has_checked = set(), False
        self.changed |= {commit.stream for commit in commits}
        for commit in commits:
            category = commit.category
            followed = self.followed.setdefault(commit.stream, Followed(category.decider.initial, category.initial_row))
            for recorded in commit.recorded_events:
                followed.state = category.decider.evolve(followed.state, recorded.event)
                followed.row = category.apply(followed.row, recorded)
                followed.history.append(recorded)

    def _category_of(self, stream: str) -> AnyCategory:
        return next(category for category in self.categories if category.name == stream.partition("-")[0])


def _version(answer: Answer) -> tuple[str, int] | None:
    return (answer.result.stream, answer.result.version) if answer.result else None
