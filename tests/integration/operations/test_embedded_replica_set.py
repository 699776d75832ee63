"""The embedded MongoDB with three members keeps its data when the members start on other ports."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymongo

from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_programs
from infra.local.process import Process, Program
from infra.replica_set import wait_until_primary
from libs.documents import Document


@contextmanager
def running(programs: list[Program]) -> Iterator[pymongo.MongoClient[Document]]:
    members = [Process(program) for program in programs]
    try:
        for member in members:
            member.start()
        for member in members:
            member.wait_ready()
        wait_until_primary([int(program.address.rpartition(":")[2]) for program in programs])
        with pymongo.MongoClient[Document](programs[0].url, serverSelectionTimeoutMS=60_000) as client:
            yield client
    finally:
        for member in members:
            member.kill()


def test_three_members_keep_their_data_when_they_start_on_other_ports(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    with running(mongod_programs(folder, 3)) as client:
        client.db.things.with_options(write_concern=pymongo.WriteConcern("majority")).insert_one({"_id": 1})
        assert len(client.admin.command("replSetGetStatus")["members"]) == 3
    for file in (tmp_path / "run").glob("mongod-*.port"):
        file.unlink()
    with running(mongod_programs(folder, 3)) as client:
        client.db.things.with_options(write_concern=pymongo.WriteConcern("majority")).insert_one({"_id": 2})
        assert [thing["_id"] for thing in client.db.things.find()] == [1, 2]
