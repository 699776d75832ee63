"""Registration of runners: tokens, scopes, names and deleted projects."""

import asyncio
from uuid import uuid4

import pytest
from bson import json_util
from opentelemetry.metrics import NoOpMeterProvider

from contracts.runners import (
    RegisterRunner,
    ResetRegistrationToken,
    RevealRegistrationToken,
    RunnerRegistration,
)
from libs.messaging.request_reply import COMMAND_ID_HEADER, MAY_BE_DUPLICATE_HEADER
from libs.observability.metrics import Metrics
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.runtime import Runtime
from services.runners.app import create_service
from services.runners.workers import delete_scope
from tests.integration.services.runners.runners_replica import Replica, get_error_code, get_outcome_code
from tests.support.in_process.service_stage import ServiceStage


async def dump_database(replica: Replica) -> str:
    database = replica.runtime.database
    documents = [await database[name].find().to_list() for name in await database.list_collection_names()]
    return json_util.dumps(documents)


async def test_a_registered_runner_authenticates_with_its_token(replica: Replica) -> None:
    registration = await replica.register(tags=("docker",), max_timeout_seconds=100)
    profile = await replica.touch(registration.token)
    assert (profile.runner_id, profile.runner_uuid) == (registration.id, registration.uuid)
    assert (profile.name, profile.tags, profile.owner_type) == ("Gloin", ("docker",), "GLOBAL")


async def test_runner_and_registration_tokens_are_not_stored_in_clear(replica: Replica) -> None:
    registration = await replica.register()
    stored = await dump_database(replica)
    assert registration.uuid in stored
    assert registration.token not in stored
    assert await replica.registration_token() not in stored


async def test_the_initial_registration_token_can_be_configured_and_is_replaced_by_a_reset(stage: ServiceStage) -> None:
    own_settings = stage.settings.model_copy(update={"registration_token": "from-a-secret"})
    async with stage.connected() as bus, create_mongo_client(own_settings, "test") as client:
        database = get_database(client, own_settings, "runners")
        metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
        replica = Replica(
            Runtime(create_service(), own_settings, database, bus, create_vault(database, own_settings), metrics)
        )
        await replica.start()
        assert await replica.registration_token() == "from-a-secret"
        assert await replica.registration_token("company-4") != "from-a-secret"
        await replica.request(ResetRegistrationToken(scope="service"))
        await replica.start()
        assert await replica.registration_token() != "from-a-secret"


async def test_a_wrong_registration_token_registers_no_runner(replica: Replica) -> None:
    assert await get_error_code(replica, RegisterRunner(registration_token="guessed")) == "REGISTRATION_TOKEN"
    assert (await replica.list_runners()).total == 0


async def test_a_runner_without_a_name_is_named_by_its_description(replica: Replica) -> None:
    registration = await replica.register(name="", description="Agent of a company")
    assert (await replica.get_view(registration.uuid)).name == "Agent of a company"


async def test_a_name_taken_from_a_long_description_is_truncated(replica: Replica) -> None:
    registration = await replica.register(name="", description="d" * 300)
    assert (await replica.get_view(registration.uuid)).name == "d" * 255


async def test_a_runner_without_name_and_description_gets_a_generated_name(replica: Replica) -> None:
    registration = await replica.register(name="")
    assert (await replica.get_view(registration.uuid)).name == f"runner {registration.uuid[:8]}"


async def test_the_scope_of_the_registration_token_owns_the_runner(replica: Replica) -> None:
    registration = await replica.register(registration_token=await replica.registration_token("project-84"))
    view = await replica.get_view(registration.uuid)
    assert (view.owner_type, view.owner_id) == ("PROJECT", 84)


async def test_replicas_that_start_concurrently_share_one_registration_token(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    await asyncio.gather(first.start(), second.start())
    assert await first.registration_token() == await second.registration_token()


async def test_concurrent_first_queries_for_a_scope_get_the_same_token(replicas: tuple[Replica, Replica]) -> None:
    first_replica, two = replicas
    first, second = await asyncio.gather(
        first_replica.registration_token("company-4"), two.registration_token("company-4")
    )
    assert first == second


async def test_after_a_reset_the_old_registration_token_is_rejected(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    old, runner = await first.registration_token(), await first.register()
    await first.send(ResetRegistrationToken(scope="service"))
    assert await get_error_code(second, RegisterRunner(registration_token=old, name="late")) == "REGISTRATION_TOKEN"
    assert (await second.register()).id != runner.id
    assert (await second.touch(runner.token)).runner_id == runner.id


async def test_a_repeated_registration_returns_the_same_runner(replicas: tuple[Replica, Replica]) -> None:
    first_replica, two = replicas
    command = RegisterRunner(registration_token=await first_replica.registration_token(), name="Gloin")
    repeatable = {COMMAND_ID_HEADER: str(uuid4()), MAY_BE_DUPLICATE_HEADER: "1"}
    first = RunnerRegistration.model_validate_json(await first_replica.request(command, repeatable))
    second = RunnerRegistration.model_validate_json(await two.request(command, repeatable))
    assert first == second
    assert (await first_replica.touch(first.token)).runner_id == first.id
    assert (await first_replica.list_runners(counted=True)).total == 1


@pytest.mark.parametrize("project_id", range(1, 6))
async def test_no_runner_can_be_registered_for_a_deleted_project(
    replicas: tuple[Replica, Replica], project_id: int
) -> None:
    first, second = replicas
    scope = f"project-{project_id}"
    command = RegisterRunner(registration_token=await first.registration_token(scope), name="late")
    *registrations, _ = await asyncio.gather(
        *(get_outcome_code(replica, command) for replica in replicas * 2),
        delete_scope(second.runtime.background_context("dissolve"), scope),
    )
    assert set(registrations) <= {"done", "REGISTRATION_TOKEN"}
    assert (await first.list_runners(owner_type="PROJECT", owner_id=project_id)).total == 0
    assert await get_error_code(first, command) == "REGISTRATION_TOKEN"
    assert await get_error_code(second, RevealRegistrationToken(scope=scope)) == "PROJECT_NOT_FOUND"
    assert await get_error_code(second, ResetRegistrationToken(scope=scope)) == "PROJECT_NOT_FOUND"
