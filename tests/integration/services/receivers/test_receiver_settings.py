"""The settings of receivers: encryption, deletion and limits."""

import pytest
from bson import json_util

from contracts.errors import RequestRejected
from contracts.notifications import (
    CreateReceiver,
    DeleteReceiver,
    GetReceiver,
)
from contracts.projects import ProjectDeleted
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from tests.integration.services.receivers.receiver_stage import FAILED, SECRET, running_project
from tests.support.external.notification_receiver import NotificationReceiver
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import eventually


async def test_secrets_and_urls_are_stored_encrypted_and_deleted_with_the_project(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    receiver.failures += [404]
    async with running_project(stage) as project:
        kept = await project.add_receiver(f"{receiver.url}/canary")
        other = await project.add_receiver(f"{receiver.url}/canary")
        await project.send(DeleteReceiver(project_id=3, receiver_id=other))
        await project.publish(FAILED)
        (row,) = await project.wait_until_ended()
        async with create_mongo_client(stage.settings, "test") as client:
            database = get_database(client, stage.settings, "notifications")
            keys = database["data_keys"]
            await eventually(lambda: keys.find_one({"_id": f"receiver-{other}"}), lambda key: key is None)
            names = await database.list_collection_names()
            stored = json_util.dumps([await database[name].find().to_list() for name in names])
            await project.publish(ProjectDeleted(project_id=3), 1, "projects", "project-3")
            await eventually(project.list_receivers, lambda receivers: not receivers)
            await eventually(lambda: keys.find_one({"_id": f"receiver-{kept}"}), lambda key: key is None)
        with pytest.raises(RequestRejected, match="RECEIVER_NOT_FOUND"):
            await MessageClient(project.bus).query(GetReceiver(receiver_id=kept))
    assert row.reason == "the receiver refused the request (404)"
    assert row.id in stored
    assert "canary" not in stored


async def test_an_unknown_project_and_a_receiver_too_many_are_rejected(
    stage: ServiceStage, receiver: NotificationReceiver
) -> None:
    async with running_project(stage) as project:
        with pytest.raises(RequestRejected, match="PROJECT_NOT_FOUND"):
            await project.send(CreateReceiver(project_id=4, url=receiver.url, secret=SECRET))
        for _ in range(20):
            await project.add_receiver(receiver.url)
        with pytest.raises(RequestRejected, match="RECEIVER_LIMIT"):
            await project.add_receiver(receiver.url)
