"""What may happen to runners and registration tokens."""

import pytest

from contracts.runners import (
    DeleteRunner,
    EditRunner,
    IssueRegistrationToken,
    MarkRunnerOffline,
    MarkRunnerOnline,
    NoteRunnerInfo,
    RecordRunner,
    RecordRunnerToken,
    RegistrationTokenReset,
    RegistrationTokenWithdrawn,
    ResetRegistrationToken,
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerInfoChanged,
    RunnerOffline,
    RunnerOnline,
    RunnerRegistered,
    RunnerShutDown,
    RunnerTokenReset,
    ShutDownRunner,
    WithdrawRegistrationToken,
)
from libs.testing.scenario import Scenario
from services.runners.domain import owner, registration_decider, registration_stream, runner_decider

UUID = "74af2044-1111-4111-8111-47d0ef20639a"
LINUX = RunnerInfo(version="17.0", platform="linux", architecture="amd64", executor="shell")

record = RecordRunner(
    runner_uuid=UUID,
    runner_id=3,
    token_hash="h1",
    owner_type="COMPANY",
    owner_id=4,
    name="Gloin",
    description="Agent of a company",
    tags=("docker", "linux"),
    run_untagged=False,
    locked=True,
    protected=True,
    max_timeout_seconds=100,
    info=LINUX,
)
registered = RunnerRegistered(
    runner_uuid=UUID,
    runner_id=3,
    token_hash="h1",
    owner_type="COMPANY",
    owner_id=4,
    name="Gloin",
    description="Agent of a company",
    tags=("docker", "linux"),
    run_untagged=False,
    locked=True,
    protected=True,
    max_timeout_seconds=100,
    info=LINUX,
)
unchanged = RunnerEdited(
    runner_uuid=UUID,
    runner_id=3,
    name="Gloin",
    description="Agent of a company",
    tags=("docker", "linux"),
    run_untagged=False,
    locked=True,
    protected=True,
    active=True,
    max_timeout_seconds=100,
)
shut_down = RunnerShutDown(runner_uuid=UUID, runner_id=3, name="Gloin")
online = RunnerOnline(runner_uuid=UUID, runner_id=3, name="Gloin")
offline = RunnerOffline(runner_uuid=UUID, runner_id=3, name="Gloin")
deleted = RunnerDeleted(runner_uuid=UUID, runner_id=3, name="Gloin")

NEWER = LINUX.but(version="17.0.0")
renewed = RunnerInfoChanged(runner_uuid=UUID, runner_id=3, name="Gloin", info=NEWER)

runner = Scenario(runner_decider)
token = Scenario(registration_decider)


def test_a_runner_is_registered_with_its_settings() -> None:
    runner.when(record).then(registered)


def test_registering_the_same_runner_again_changes_nothing() -> None:
    runner.given(registered).when(record.but(token_hash="h2")).then()


def test_names_and_tags_are_kept_without_spaces_blanks_and_repetitions() -> None:
    untidy = record.but(name=" Gloin ", tags=("docker", "", " linux ", "docker"))
    runner.when(untidy).then(registered)


def test_a_timeout_of_zero_means_no_limit() -> None:
    runner.when(record.but(max_timeout_seconds=0)).then(registered.but(max_timeout_seconds=None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "n" * 256},
        {"tags": ("t" * 256,)},
        {"tags": tuple(map(str, range(101)))},
        {"description": "d" * 4097},
        {"max_timeout_seconds": -1},
        {"max_timeout_seconds": 10**9 + 1},
    ],
)
def test_values_that_no_runner_can_have_are_refused(wrong: dict[str, object]) -> None:
    runner.when(record.but(**wrong)).then_refused("RUNNER_INVALID")
    runner.given(registered).when(EditRunner(runner_uuid=UUID).but(**wrong)).then_refused("RUNNER_INVALID")


def test_an_edit_changes_only_what_is_given() -> None:
    edit = EditRunner(runner_uuid=UUID, tags=("arm",))
    runner.given(registered).when(edit).then(unchanged.but(tags=("arm",)))


def test_an_edit_can_empty_texts_and_tags_and_lift_the_limit() -> None:
    edit = EditRunner(runner_uuid=UUID, description="", tags=(), max_timeout_seconds=0)
    runner.given(registered).when(edit).then(unchanged.but(description="", tags=(), max_timeout_seconds=None))


def test_an_edit_that_says_what_is_already_so_changes_nothing() -> None:
    runner.given(registered).when(EditRunner(runner_uuid=UUID, name="Gloin", locked=True)).then()


def test_a_shut_down_runner_is_not_active() -> None:
    runner.given(registered).when(ShutDownRunner(runner_uuid=UUID)).then(shut_down)


def test_shutting_down_twice_changes_nothing() -> None:
    runner.given(registered, shut_down).when(ShutDownRunner(runner_uuid=UUID)).then()


def test_an_edit_brings_a_shut_down_runner_back() -> None:
    runner.given(registered, shut_down).when(EditRunner(runner_uuid=UUID, active=True)).then(unchanged)


def test_a_runner_comes_online_once() -> None:
    runner.given(registered).when(MarkRunnerOnline(runner_uuid=UUID)).then(online)
    runner.given(registered, online).when(MarkRunnerOnline(runner_uuid=UUID)).then()


def test_what_a_runner_says_anew_of_itself_is_recorded_once() -> None:
    runner.given(registered).when(NoteRunnerInfo(runner_uuid=UUID, info=NEWER)).then(renewed)
    runner.given(registered, renewed).when(NoteRunnerInfo(runner_uuid=UUID, info=NEWER)).then()
    runner.given(registered, deleted).when(NoteRunnerInfo(runner_uuid=UUID, info=NEWER)).then()


def test_a_runner_goes_offline_once() -> None:
    runner.given(registered, online).when(MarkRunnerOffline(runner_uuid=UUID)).then(offline)
    runner.given(registered, online, offline).when(MarkRunnerOffline(runner_uuid=UUID)).then()


def test_a_runner_that_never_called_cannot_go_offline() -> None:
    runner.given(registered).when(MarkRunnerOffline(runner_uuid=UUID)).then()


def test_a_new_token_replaces_the_old_one() -> None:
    reset = RecordRunnerToken(runner_uuid=UUID, token_hash="h2")
    runner.given(registered).when(reset).then(RunnerTokenReset(runner_uuid=UUID, runner_id=3, token_hash="h2"))


def test_a_runner_is_deleted() -> None:
    runner.given(registered, online).when(DeleteRunner(runner_uuid=UUID)).then(deleted)


@pytest.mark.parametrize(
    "command",
    [
        EditRunner(runner_uuid=UUID, name="Balin"),
        ShutDownRunner(runner_uuid=UUID),
        DeleteRunner(runner_uuid=UUID),
        RecordRunnerToken(runner_uuid=UUID, token_hash="h2"),
    ],
)
def test_nothing_can_be_done_to_a_runner_that_is_not_there(command: DeleteRunner) -> None:
    runner.when(command).then_refused("RUNNER_NOT_FOUND")
    runner.given(registered, deleted).when(command).then_refused("RUNNER_NOT_FOUND")


def test_a_call_that_crosses_the_deletion_changes_nothing() -> None:
    runner.given(registered, deleted).when(MarkRunnerOnline(runner_uuid=UUID)).then()
    runner.given(registered, online, deleted).when(MarkRunnerOffline(runner_uuid=UUID)).then()


first_token = RegistrationTokenReset(scope="service", token_hash="h1", token_sealed="s1")
second_token = RegistrationTokenReset(scope="service", token_hash="h2", token_sealed="s2")


def test_a_scope_gets_its_first_token() -> None:
    token.when(IssueRegistrationToken(scope="service", token_hash="h1", token_sealed="s1")).then(first_token)


def test_a_scope_that_has_a_token_keeps_it() -> None:
    again = IssueRegistrationToken(scope="service", token_hash="h2", token_sealed="s2")
    token.given(first_token).when(again).then()


def test_a_reset_always_gives_a_new_token() -> None:
    reset = ResetRegistrationToken(scope="service", token_hash="h2", token_sealed="s2")
    token.given(first_token).when(reset).then(second_token)


withdrawn = RegistrationTokenWithdrawn(scope="project-84")


def test_a_scope_that_is_gone_never_has_a_token_again() -> None:
    gone = WithdrawRegistrationToken(scope="project-84")
    token.when(gone).then(withdrawn)
    token.given(first_token).when(gone).then(withdrawn)
    token.given(withdrawn).when(gone).then()


@pytest.mark.parametrize(("scope", "code"), [("project-84", "PROJECT_NOT_FOUND"), ("company-4", "COMPANY_NOT_FOUND")])
def test_a_withdrawn_scope_is_not_found(scope: str, code: str) -> None:
    gone = token.given(RegistrationTokenWithdrawn(scope=scope))
    gone.when(IssueRegistrationToken(scope=scope, token_hash="h", token_sealed="s")).then_refused(code)
    gone.when(ResetRegistrationToken(scope=scope, token_hash="h", token_sealed="s")).then_refused(code)


def test_each_scope_has_a_stream_of_its_own() -> None:
    assert registration_decider.stream(IssueRegistrationToken(scope="company-4")) == registration_stream("company-4")


def test_the_scope_says_who_owns_the_runner() -> None:
    assert owner("service") == ("GLOBAL", None)
    assert owner("company-4") == ("COMPANY", 4)
    assert owner("project-84") == ("PROJECT", 84)
