"""Erasure of a user: no database, stream or later backup contains the name or personal data in plaintext."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import decode, json_util

from contracts.history import EVENT_SERVICES
from contracts.identity import AddSshKey
from infra.backup import backup_commands
from infra.backup.file_format import split_documents
from infra.backup.file_reader import BackupReader
from libs.messaging.request_reply import MessageClient
from libs.privacy.usernames import ERASED_USER
from libs.settings import Settings
from services.identity.app import service as identity
from tests.integration.whole.history.history_requests import (
    PROJECT,
    create_developer,
    get_history,
    patch_resource,
    register_runner,
)
from tests.support import read_stream_messages
from tests.support.external.forge_webhooks import github_headers, github_push_body
from tests.support.external.ssh_keys import generate_public_key
from tests.support.in_process.running_system import Headers, RunningSystem
from tests.support.waiting import eventually


def spellings(text: str) -> Iterator[bytes]:
    """Yield the text and its base64 forms at each offset, without the characters that depend on adjacent bytes."""
    yield text.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + text.encode()).rstrip(b"=")
        yield encoded[(offset * 8 + 5) // 6 : -1]


async def read_databases(system: RunningSystem) -> dict[str, bytes]:
    """Return the content of each collection, as JSON in lower case."""
    contents = {}
    for service in EVENT_SERVICES:
        async with system.database(service) as database:
            for name in await database.list_collection_names():
                documents = await database[name].find().to_list()
                contents[f"{service}.{name}"] = json_util.dumps(documents).lower().encode()
    return contents


async def read_streams(system: RunningSystem) -> dict[str, bytes]:
    """Return subjects, headers and bodies of the messages of each stream, in lower case."""
    contents = {}
    async with system.stage.connected() as bus:
        for service in EVENT_SERVICES:
            messages = await read_stream_messages(bus, service)
            parts = [b"%s %s %s" % (m.subject.encode(), json.dumps(m.headers).encode(), m.data) for m in messages]
            contents[f"stream {service}"] = b"\n".join(parts).lower()
    return contents


def read_backup(file: str) -> dict[str, bytes]:
    """Return the documents of each collection in a backup, as JSON in lower case."""
    with Path(file).open("rb") as source:
        return {
            f"backup {section.service}.{section.collection}": json_util.dumps(
                [decode(document) for document in split_documents(content)]
            )
            .lower()
            .encode()
            for section, content in BackupReader(source, "").read_documents()
        }


def find_texts(stored: Mapping[str, bytes], texts: Sequence[str]) -> list[str]:
    """Return one line for each place with one of the texts, in any case. `stored`: contents in lower case, by place."""
    wanted = {text: [spelling.lower() for spelling in spellings(text)] for text in texts}
    return [
        f"{text} in {place}"
        for place, content in sorted(stored.items())
        for text, forms in wanted.items()
        if any(form in content for form in forms)
    ]


async def act_as(system: RunningSystem, user: Any, headers: Headers, key_title: str) -> dict[str, Any]:
    """Change something in every service as the user. Return the ids of what was created."""
    body = {**PROJECT, "repository": "/nowhere/at/all", "developers_id": [user["id"]]}
    created = await system.http.post("/api/admin/projects", json={"project": body}, headers=headers)
    assert created.status_code == 201, created.text
    project = created.json()
    assert project["owner_alias"] == user["username"]
    async with system.stage.connected() as bus:
        key = AddSshKey(user_id=user["id"], public_key=f"{generate_public_key()} {key_title}", title=key_title)
        await MessageClient(bus).send(key)
    launch = await system.http.post(f"/api/developer/builds/{project['id']}", json={}, headers=headers)
    assert launch.status_code < 300, launch.text
    kill = f"/api/developer/builds/kill/queued/{launch.json()['executor_id']}"
    assert (await system.http.delete(kill, headers=headers)).status_code in (204, 404)
    executor = await system.http.post(
        "/api/admin/executors", json={"executor": {"name": "one", "driver": "localDriver"}}, headers=headers
    )
    assert executor.status_code == 201, executor.text
    await deliver_push(system, user, project["id"])
    runner = await register_runner(system)
    paused = await system.http.post(f"/api/admin/runners/{runner.uuid}/shutdown", headers=headers)
    assert paused.is_success, paused.text
    return {"project": project["id"], "executor": executor.json()["id"], "build": launch.json()["build_id"]}


async def deliver_push(system: RunningSystem, user: Any, project_id: int) -> None:
    """Deliver a webhook of a push by the user, under the user's name, to the project."""
    await patch_resource(system, f"developers/{user['id']}/github_username", github_username=user["username"])
    renewed = await system.http.patch(f"/api/admin/projects/{project_id}/signature_key", headers=system.admin)
    body = github_push_body("1" * 40, login=user["username"])
    headers = github_headers(renewed.json()["signature_key"], body)
    delivered = await system.http.post(f"/api/guest/webhooks/build/{project_id}", content=body, headers=headers)
    assert delivered.json()["decision"] == "ACCEPTED", delivered.text


async def count_rows(system: RunningSystem, service: str, field: str, user_id: int) -> int:
    """Return the number of rows whose field has the number of the user."""
    async with system.database(service) as database:
        return await database["streams"].count_documents({field: user_id})


async def test_an_erased_user_leaves_no_name_in_databases_streams_and_backups(
    system: RunningSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, key_title = f"zoe-{uuid4().hex}", f"laptop-{uuid4().hex}"
    texts = (name, f"{name}@example.org", key_title)
    user, headers = await create_developer(system, name, roles=["ROLE_ADMIN", "ROLE_DEVELOPER"])
    created = await act_as(system, user, headers, key_title)
    assert (await get_history(system, f"executor/{created['executor']}"))["entries"][0]["actor"] == {
        "id": user["id"],
        "name": name,
    }
    assert await count_rows(system, "projects", "delivery_v1.user_id", user["id"]) == 1
    mails = partial(count_rows, system, "notifications", "notification_v1.user_id", user["id"])
    await eventually(mails, until=lambda count: count > 0)
    assert f"{name} in identity.commits" in find_texts(await read_databases(system), texts)
    response = await system.http.delete(f"/api/admin/developers/{user['id']}", headers=system.admin)
    assert response.is_success, response.text

    async def find_everywhere() -> list[str]:
        return find_texts(await read_databases(system) | await read_streams(system), texts)

    await eventually(find_everywhere, until=lambda found: found == [])
    project = (await system.http.get(f"/api/admin/projects/{created['project']}", headers=system.admin)).json()
    assert project["owner_alias"] == f"erased-user-{user['id']}"
    set_environment(monkeypatch, system.settings)
    file = str(tmp_path / "later.backup")
    await asyncio.to_thread(backup_commands.backup, file, [])
    assert find_texts(read_backup(file), texts) == []


async def test_a_history_shows_an_erased_user_with_the_number(system: RunningSystem) -> None:
    async with system.database("projects") as database:
        await database["commits"].update_one({"stream": "executor-1"}, {"$set": {"actor": {"id": 999, "name": "x"}}})
    entry = (await get_history(system, "executor/1"))["entries"][0]
    assert entry["actor"] == {"id": 999, "name": ERASED_USER}


async def test_an_erasure_is_repeated_after_a_restore(system: RunningSystem) -> None:
    restored, _ = await create_developer(system, "restored")
    newer, _ = await create_developer(system, "newer")
    erasures = [
        {"_id": "a", "user_id": restored["id"], "user_uuid": ""},
        {"_id": "b", "user_id": newer["id"], "user_uuid": str(uuid4())},  # an earlier user with the same number
    ]
    async with system.database("identity") as database:
        await database["erasures"].insert_many(erasures)
        async with system.stage.running(lambda: identity, instance="late"):
            await eventually(lambda: database["erasures"].count_documents({}), until=lambda count: count == 0)
        paths = [f"/api/admin/developers/{user['id']}" for user in (restored, newer)]
        assert [(await system.http.get(path, headers=system.admin)).status_code for path in paths] == [404, 200]


def set_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Let commands use the servers and databases of the running system."""
    monkeypatch.setenv("HEADRACE_MONGODB_URL", settings.mongodb_url)
    monkeypatch.setenv("HEADRACE_NATS_URL", settings.nats_url)
    monkeypatch.setenv("HEADRACE_DATABASE_PREFIX", settings.database_prefix)
