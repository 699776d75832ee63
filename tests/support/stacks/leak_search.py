"""Search for secret values, in plaintext or base64, in databases, streams and files of a stack and in command lines."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bson.raw_bson import RawBSONDocument
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from pymongo import MongoClient

FRAGMENT_LENGTH = 32  # base64 is searched in fragments, because its lines may be wrapped


def encode_variants(value: str) -> Iterator[bytes]:
    """Yield the value and each of its lines, in plaintext and in base64 at every alignment."""
    for part in {value, *value.splitlines()}:
        yield part.encode()
        for lead in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                encoded = encode(b"x" * lead + part.encode())
                inside = encoded[4 : len(encoded) // 4 * 4 - 4]  # characters that do not depend on other bytes
                yield from (
                    inside[start : start + FRAGMENT_LENGTH]
                    for start in range(0, max(len(inside) - FRAGMENT_LENGTH, 0) + 1, 8)
                )


@dataclass
class LeakSearch:
    """Searches for secret values and collects the places where they occur."""

    values: Sequence[str]
    needles: tuple[bytes, ...] = ()
    findings: list[str] = field(default_factory=list)
    searched_count: int = 0

    def __post_init__(self) -> None:
        self.needles = tuple(needle for value in self.values for needle in encode_variants(value))
        assert all(len(needle) > 8 for needle in self.needles)

    def search(self, where: str, content: bytes | str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.searched_count += 1
        self.findings += [f"{where}: {needle!r}" for needle in self.needles if needle in content]

    def search_documents(self, mongodb_url: str) -> set[str]:
        """Search all documents, including the oplog. Return the database names."""
        with MongoClient[RawBSONDocument](mongodb_url, document_class=RawBSONDocument) as client:
            for name in client.list_database_names():
                for collection in client[name].list_collection_names():
                    for document in client[name][collection].find():
                        self.search(f"{name}.{collection}", bytes(document.raw))
            return set(client.list_database_names())

    async def search_messages(self, client: Client) -> set[str]:
        """Search all messages of all streams. Return the stream names."""
        jetstream = client.jetstream()
        streams = {str(stream.config.name): stream.state.messages for stream in await jetstream.streams_info()}
        for stream, count in streams.items():
            config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=10)
            subscription = await jetstream.pull_subscribe(">", stream=stream, config=config)
            while count > 0:
                for message in await subscription.fetch(min(count, 500), timeout=5):
                    self.search(f"stream {stream}", repr(message.headers).encode() + message.subject.encode())
                    self.search(f"stream {stream}", message.data)
                    count -= 1
            await subscription.unsubscribe()
        return set(streams)

    def search_files(self, folder: Path, scratch: Path) -> None:
        """Search the bytes of every file below the folder. The search patterns are written to the file `scratch`."""
        scratch.write_bytes(b"\n".join(self.needles) + b"\n")
        listed = subprocess.run(
            ["grep", "-rlaF", "-f", str(scratch), str(folder)], capture_output=True, text=True, check=False
        )
        assert listed.returncode in {0, 1, 2}, listed.stderr  # 2: a file was deleted during the search
        self.findings += [f"file {file}" for file in listed.stdout.splitlines()]

    @contextmanager
    def watch_command_lines(self) -> Iterator[set[str]]:
        """Search the command lines of all processes while the block runs. Yield the set of command lines seen."""
        stop, command_lines = threading.Event(), set[str]()

        def sample() -> None:
            while not stop.wait(0.03):
                for process in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        line = Path("/proc", process, "cmdline").read_bytes()
                    except OSError:
                        continue
                    text = line.decode(errors="replace")
                    if text not in command_lines:
                        command_lines.add(text)
                        self.search("command line", line)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield command_lines
        finally:
            stop.set()
            thread.join()
