"""Commands to runners and registration tokens: validation, recorded events and repetitions."""

import pytest

from contracts.runners import (
    DeleteRunner,
    EditRunner,
    PauseRunner,
    RegistrationTokenReset,
    RegistrationTokenWithdrawn,
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerInfoChanged,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
    RunnerSettings,
    RunnerTokenReset,
)
from services.runners.domain.internal_commands import (
    AddRunner,
    IssueRegistrationToken,
    MarkRunnerOffline,
    MarkRunnerOnline,
    ReplaceRegistrationToken,
    SetRunnerToken,
    UpdateRunnerInfo,
    WithdrawRegistrationToken,
)
from services.runners.domain.registration import parse_scope, registration_decider, registration_stream
from services.runners.domain.runner import runner_decider
from tests.support.scenario import Scenario

UUID = "74af2044-1111-4111-8111-47d0ef20639a"
LINUX = RunnerInfo(version="17.0", platform="linux", architecture="amd64", executor="shell")

SETTINGS = RunnerSettings(
    name="Gloin",
    description="Agent of a company",
    tags=("docker", "linux"),
    run_untagged=False,
    locked=True,
    protected=True,
    max_timeout_seconds=100,
)
record = AddRunner(
    runner_uuid=UUID,
    runner_id=3,
    token_hash="h1",
    owner_type="COMPANY",
    owner_id=4,
    settings=SETTINGS,
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
shut_down = RunnerPaused(runner_uuid=UUID, runner_id=3, name="Gloin")
online = RunnerOnline(runner_uuid=UUID, runner_id=3, name="Gloin")
offline = RunnerOffline(runner_uuid=UUID, runner_id=3, name="Gloin")
deleted = RunnerDeleted(runner_uuid=UUID, runner_id=3, name="Gloin")

NEWER = LINUX.replace(version="17.0.0")
renewed = RunnerInfoChanged(runner_uuid=UUID, runner_id=3, name="Gloin", info=NEWER)

runner = Scenario(runner_decider)
token = Scenario(registration_decider)


def test_a_runner_is_registered_with_its_settings() -> None:
    runner.when(record).then(registered)


def test_registering_the_same_runner_again_changes_nothing() -> None:
    runner.given(registered).when(record.replace(token_hash="h2")).then()


def test_runner_names_and_tags_are_trimmed_and_deduplicated() -> None:
    untidy = record.replace(settings=SETTINGS.replace(name=" Gloin ", tags=("docker", "", " linux ", "docker")))
    runner.when(untidy).then(registered)


def test_a_runner_timeout_of_zero_means_no_limit() -> None:
    runner.when(record.replace(settings=SETTINGS.replace(max_timeout_seconds=0))).then(
        registered.replace(max_timeout_seconds=None)
    )


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
def test_invalid_runner_settings_are_rejected(wrong: dict[str, object]) -> None:
    runner.when(record.replace(settings=SETTINGS.replace(**wrong))).then_refused("RUNNER_INVALID")
    runner.given(registered).when(EditRunner(runner_uuid=UUID).replace(**wrong)).then_refused("RUNNER_INVALID")


def test_an_edit_changes_only_the_given_fields() -> None:
    edit = EditRunner(runner_uuid=UUID, tags=("arm",))
    runner.given(registered).when(edit).then(unchanged.replace(tags=("arm",)))


def test_an_edit_can_clear_texts_tags_and_the_timeout() -> None:
    edit = EditRunner(runner_uuid=UUID, description="", tags=(), max_timeout_seconds=0)
    runner.given(registered).when(edit).then(unchanged.replace(description="", tags=(), max_timeout_seconds=None))


def test_an_edit_without_changes_records_nothing() -> None:
    runner.given(registered).when(EditRunner(runner_uuid=UUID, name="Gloin", locked=True)).then()


def test_shutting_down_a_runner_is_recorded() -> None:
    runner.given(registered).when(PauseRunner(runner_uuid=UUID)).then(shut_down)


def test_shutting_down_a_runner_twice_changes_nothing() -> None:
    runner.given(registered, shut_down).when(PauseRunner(runner_uuid=UUID)).then()


def test_an_edit_reactivates_a_shut_down_runner() -> None:
    runner.given(registered, shut_down).when(EditRunner(runner_uuid=UUID, active=True)).then(unchanged)


def test_a_runner_is_marked_online_once() -> None:
    runner.given(registered).when(MarkRunnerOnline(runner_uuid=UUID)).then(online)
    runner.given(registered, online).when(MarkRunnerOnline(runner_uuid=UUID)).then()


def test_changed_runner_information_is_recorded_once() -> None:
    runner.given(registered).when(UpdateRunnerInfo(runner_uuid=UUID, info=NEWER)).then(renewed)
    runner.given(registered, renewed).when(UpdateRunnerInfo(runner_uuid=UUID, info=NEWER)).then()
    runner.given(registered, deleted).when(UpdateRunnerInfo(runner_uuid=UUID, info=NEWER)).then()


def test_a_runner_is_marked_offline_once() -> None:
    runner.given(registered, online).when(MarkRunnerOffline(runner_uuid=UUID)).then(offline)
    runner.given(registered, online, offline).when(MarkRunnerOffline(runner_uuid=UUID)).then()


def test_a_runner_that_never_connected_cannot_go_offline() -> None:
    runner.given(registered).when(MarkRunnerOffline(runner_uuid=UUID)).then()


def test_a_new_runner_token_replaces_the_old_one() -> None:
    reset = SetRunnerToken(runner_uuid=UUID, token_hash="h2")
    runner.given(registered).when(reset).then(RunnerTokenReset(runner_uuid=UUID, runner_id=3, token_hash="h2"))


def test_a_runner_is_deleted() -> None:
    runner.given(registered, online).when(DeleteRunner(runner_uuid=UUID)).then(deleted)


@pytest.mark.parametrize(
    "command",
    [
        EditRunner(runner_uuid=UUID, name="Balin"),
        PauseRunner(runner_uuid=UUID),
        DeleteRunner(runner_uuid=UUID),
        SetRunnerToken(runner_uuid=UUID, token_hash="h2"),
    ],
)
def test_a_missing_runner_cannot_be_changed(command: DeleteRunner) -> None:
    runner.when(command).then_refused("RUNNER_NOT_FOUND")
    runner.given(registered, deleted).when(command).then_refused("RUNNER_NOT_FOUND")


def test_a_heartbeat_after_the_deletion_changes_nothing() -> None:
    runner.given(registered, deleted).when(MarkRunnerOnline(runner_uuid=UUID)).then()
    runner.given(registered, online, deleted).when(MarkRunnerOffline(runner_uuid=UUID)).then()


first_token = RegistrationTokenReset(scope="service", token_hash="h1", token_sealed="s1")
second_token = RegistrationTokenReset(scope="service", token_hash="h2", token_sealed="s2")


def test_a_scope_gets_its_first_registration_token() -> None:
    token.when(IssueRegistrationToken(scope="service", token_hash="h1", token_sealed="s1")).then(first_token)


def test_a_scope_keeps_its_registration_token() -> None:
    second_issue = IssueRegistrationToken(scope="service", token_hash="h2", token_sealed="s2")
    token.given(first_token).when(second_issue).then()


def test_a_reset_always_creates_a_new_registration_token() -> None:
    reset = ReplaceRegistrationToken(scope="service", token_hash="h2", token_sealed="s2")
    token.given(first_token).when(reset).then(second_token)


withdrawn = RegistrationTokenWithdrawn(scope="project-84")


def test_a_deleted_scope_never_gets_a_registration_token_again() -> None:
    withdraw = WithdrawRegistrationToken(scope="project-84")
    token.when(withdraw).then(withdrawn)
    token.given(first_token).when(withdraw).then(withdrawn)
    token.given(withdrawn).when(withdraw).then()


@pytest.mark.parametrize(("scope", "code"), [("project-84", "PROJECT_NOT_FOUND"), ("company-4", "COMPANY_NOT_FOUND")])
def test_the_owner_of_a_deleted_scope_is_not_found(scope: str, code: str) -> None:
    deleted_scope = token.given(RegistrationTokenWithdrawn(scope=scope))
    deleted_scope.when(IssueRegistrationToken(scope=scope, token_hash="h", token_sealed="s")).then_refused(code)
    deleted_scope.when(ReplaceRegistrationToken(scope=scope, token_hash="h", token_sealed="s")).then_refused(code)


def test_each_registration_scope_has_its_own_stream() -> None:
    assert registration_decider.stream(WithdrawRegistrationToken(scope="company-4")) == registration_stream("company-4")


def test_the_registration_scope_decides_the_owner_of_a_runner() -> None:
    assert parse_scope("service") == ("GLOBAL", None)
    assert parse_scope("company-4") == ("COMPANY", 4)
    assert parse_scope("project-84") == ("PROJECT", 84)
