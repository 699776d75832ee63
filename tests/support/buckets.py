"""An S3 server of its own process, and what lies in its bucket."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from infra.local import ports
from infra.local.process import Process, Program
from libs.settings import BucketSettings

SECRET = "bucket-canary"


@contextmanager
def s3_server(folder: Path) -> Iterator[tuple[Process, BucketSettings]]:
    """It keeps all in memory, so that a stop forgets everything."""
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    server = Process(
        Program(
            name="moto",
            argv=(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
            log=folder / "moto.log",
            ready=lambda: ports.http_answers(port, "/moto-api/"),
        )
    )
    server.start()
    try:
        server.wait_ready()
        make_bucket(url, "artifacts")
        yield server, BucketSettings("artifacts", url, access_key="key", secret_key=SECRET)
    finally:
        server.kill()


def make_bucket(url: str, name: str) -> None:
    httpx.put(f"{url}/{name}", trust_env=False).raise_for_status()


def objects(bucket: BucketSettings | None) -> list[str]:
    """Where there is no bucket there are none."""
    if bucket is None:
        return []
    store = S3Store(
        bucket.name,
        endpoint=bucket.endpoint,
        region=bucket.region,
        access_key_id=bucket.access_key,
        secret_access_key=bucket.secret_key,
        client_options={"allow_http": True},
    )
    return [one["path"] for batch in obstore.list(store) for one in batch]
