"""Execution of internal commands, which cannot be sent over NATS."""

from datetime import UTC, datetime
from uuid import uuid4

from opentelemetry.metrics import NoOpMeterProvider

from contracts.messages import CommandReply
from infra.service_catalog import load_service
from libs.eventstore.decider import CommandMetadata, InternalCommand
from libs.messaging.nats_connection import connect, disconnect
from libs.observability.metrics import Metrics
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.runtime import Runtime
from libs.settings import Settings
from tests.support.waiting import WITHIN_SECONDS


async def issue_command(settings: Settings, command: InternalCommand) -> CommandReply:
    """Execute the command and its reactions in another replica of its service. Return the reply."""
    service = load_service(type(command).__module__.split(".")[1])
    metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
    bus = await connect(settings, "test")
    try:
        async with create_mongo_client(settings, "test") as client:
            database = get_database(client, settings, service.name)
            runtime = Runtime(service, settings, database, bus, create_vault(database, settings), metrics)
            now = datetime.now(UTC)
            metadata = CommandMetadata(str(uuid4()), now.replace(microsecond=0), command=command.wire_name)
            reply = await runtime.send(command, metadata)
            await runtime.finish(WITHIN_SECONDS)
            return reply
    finally:
        await disconnect(bus)
