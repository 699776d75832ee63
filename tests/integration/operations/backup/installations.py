"""Installations with sample documents, for tests of backup and restore."""

import asyncio
import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from libs.messaging.nats_connection import connect
from libs.security.envelope_encryption import MasterKeys
from libs.settings import Settings
from tests.support.infrastructure.servers import Servers
from tests.support.stacks.running_stack import SERVICES

KEY, OTHER_KEY = "A" * 43 + "=", "B" * 42 + "A="
LONG_AGO = datetime(2026, 1, 31, 12, tzinfo=UTC)
Documents = dict[str, list[dict[str, Any]]]  # documents by service and collection, such as "builds.attempts"


@dataclass(frozen=True)
class Installation:
    servers: Servers
    prefix: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HEADRACE_MONGODB_URL": self.servers.mongodb_url,
            "HEADRACE_NATS_URL": self.servers.nats_url,
            "HEADRACE_MASTER_KEY": KEY,
            "HEADRACE_DATABASE_PREFIX": self.prefix,
        }

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environ)

    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.servers.mongodb_url, tz_aware=True)

    def insert(self, documents: Documents) -> None:
        with self.client() as client:
            for path, rows in documents.items():
                service, collection = path.split(".")
                client[f"{self.prefix}_{service}"][collection].insert_many(rows)

    def read_documents(self) -> Documents:
        with self.client() as client:
            return {
                f"{service}.{name}": list(client[f"{self.prefix}_{service}"][name].find({}).sort("_id"))
                for service in SERVICES
                for name in client[f"{self.prefix}_{service}"].list_collection_names()
            }

    def drop_databases(self) -> None:
        with self.client() as client:
            for service in SERVICES:
                client.drop_database(f"{self.prefix}_{service}")


SECOND_NAME = "named anew"  # part of the executor name in the second event


def commit_document(number: int, at: datetime, version: int = 1) -> dict[str, Any]:
    created = {"executor_id": number, "name": f"executor {number}", "driver": "localDriver", "sealed_variables": ""}
    renamed = {"executor_id": number, "name": f"number {number}, {SECOND_NAME}"}
    name, data = ("ExecutorCreated", created) if version == 1 else ("ExecutorRenamed", renamed)
    return {
        "_id": f"command-{number}-{version}",
        "stream": f"executor-{number}",
        "version": version,
        "at": at,
        "command": "CreateExecutor",
        "actor": {"id": 1, "name": "admin"},
        "trace": "",
        "events": [{"name": name, "version": 1, "data": data}],
    }


def data_key_document(subject: str) -> dict[str, Any]:
    master = MasterKeys.from_keys([base64.b64decode(KEY)])
    return {"_id": subject, "wrapped": master.wrap(subject, bytes(32)), "kid": master.current}


def sample_documents(now: datetime) -> Documents:
    """Return sample documents. The commits are old, except the one recorded at `now`."""
    return {
        "projects.commits": [
            commit_document(1, LONG_AGO),
            commit_document(1, LONG_AGO, version=2),
            commit_document(2, now),
        ],
        "projects.counters": [{"_id": "executor", "last": 20}],
        "projects.followers": [
            {"_id": "reactions-to-projects", "incarnation": "x", "sequence": 3, "event_id": "executor-2@1.0"}
        ],
        "projects.view_project_builds_v1": [{"_id": "1", "row": {}}],
        "identity.data_keys": [data_key_document("user-1"), data_key_document("user-2")],
        "builds.attempts": [{"_id": "hash", "job_id": 1, "finished": False}],
        "builds.log_chunks": [{"attempt": "hash", "text": b"line\n" * 1000} for _ in range(3)],
        "builds.file_pieces": [{"file": "f", "offset": n, "content": os.urandom(100_000)} for n in range(4)],
    }


def set_environment(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@contextmanager
def two_installations(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Installation, Installation]]:
    """Yield an installation with sample documents, which the environment names, and an empty installation."""
    source, target = (Installation(servers, f"test-{uuid4().hex[:8]}") for _ in range(2))
    set_environment(monkeypatch, source.environ)
    source.insert(sample_documents(datetime.now(UTC)))
    asyncio.run(delete_all_streams(source.settings))
    yield source, target
    asyncio.run(delete_all_streams(source.settings))
    source.drop_databases()
    target.drop_databases()


async def delete_all_streams(settings: Settings) -> None:
    nats = await connect(settings, "test")
    for stream in await nats.jetstream().streams_info():
        await nats.jetstream().delete_stream(str(stream.config.name))
    await nats.close()
