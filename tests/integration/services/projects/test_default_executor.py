"""A deleted default executor is not created again at the next start, even after its stream has left the event log."""

from datetime import timedelta

from contracts.messages import Page
from contracts.projects import DeleteExecutor, ListExecutors
from libs.clock import now
from libs.messaging.request_reply import MessageClient
from libs.retention.stream_removal import StreamRemoval
from libs.service.connections import create_mongo_client, create_vault, get_database
from services.projects.app import service
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers


async def list_executors(stage: ServiceStage) -> list[int]:
    async with stage.connected() as bus:
        page = Page.model_validate_json(await MessageClient(bus).query(ListExecutors()))
        return [executor["id"] for executor in page.rows]


async def test_a_default_executor_that_left_the_log_is_not_created_again(servers: Servers) -> None:
    async with empty_stage(servers) as stage:
        await stage.migrate(service)
        async with stage.running(lambda: service):
            [executor_id] = await list_executors(stage)
            async with stage.connected() as bus:
                await MessageClient(bus).send(DeleteExecutor(executor_id=executor_id))
        async with create_mongo_client(stage.settings, "test") as client:
            database = get_database(client, stage.settings, service.name)
            removal = StreamRemoval(service, database, create_vault(database, stage.settings))
            assert await removal.run(now() + timedelta(days=8), timedelta(days=7)) == 1
        async with stage.running(lambda: service):
            assert await list_executors(stage) == []
