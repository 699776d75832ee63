"""Runner tokens, edits and deletion at several replicas."""

from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    EditRunner,
    GetRunner,
    PauseRunner,
    ResetRunnerToken,
    RunnerRegistration,
)
from tests.integration.services.runners.runners_replica import Replica, get_error_code


async def test_an_unknown_runner_token_is_rejected(replica: Replica) -> None:
    assert await get_error_code(replica, AuthenticateRunner(token="guessed")) == "RUNNER_TOKEN"


async def test_resetting_a_runner_token_invalidates_the_old_one(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    runner = await first.register()
    answer = await first.request(ResetRunnerToken(runner_uuid=runner.uuid))
    fresh = RunnerRegistration.model_validate_json(answer)
    assert await get_error_code(second, AuthenticateRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert (await second.touch(fresh.token)).runner_id == fresh.id == runner.id


async def test_a_runner_edit_is_visible_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    runner = await first.register(tags=("old",))
    await second.touch(runner.token)
    await first.send(EditRunner(runner_uuid=runner.uuid, tags=("new",)))
    assert (await second.touch(runner.token)).tags == ("new",)


async def test_a_paused_runner_can_still_authenticate(replica: Replica) -> None:
    runner = await replica.register()
    await replica.send(PauseRunner(runner_uuid=runner.uuid))
    assert not (await replica.touch(runner.token)).active


async def test_a_deleted_runner_is_rejected_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    runner = await first.register()
    await second.touch(runner.token)
    await first.send(DeleteRunner(runner_uuid=runner.uuid))
    assert await get_error_code(second, AuthenticateRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert await get_error_code(second, GetRunner(runner_uuid=runner.uuid)) == "RUNNER_NOT_FOUND"
    assert (await second.list_runners()).total == 0


async def test_the_heartbeats_of_a_deleted_runner_are_purged(replica: Replica) -> None:
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.run_periodic_task("heartbeat_cleanup")
    assert await replica.find_presence(runner.uuid)
    await replica.send(DeleteRunner(runner_uuid=runner.uuid))
    await replica.run_periodic_task("heartbeat_cleanup")
    assert await replica.find_presence(runner.uuid) is None
