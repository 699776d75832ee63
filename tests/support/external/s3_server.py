"""An S3 server (moto) in a child process, and a function that lists the objects of its bucket."""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from infra.local import ports
from infra.local.process import Process, Program
from libs.settings import S3Settings

BUCKET_SECRET_KEY = "bucket-canary"


@contextmanager
def s3_server(folder: Path, *, tls: tuple[Path, Path, Path] | None = None) -> Iterator[tuple[Process, S3Settings]]:
    """Run an S3 server that keeps objects in memory.

    `tls`: the files of the certificate, of its key and of the certificate authority.
    """
    port = ports.find_free_port()
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    secured = ("-s", "-c", str(tls[0]), "-k", str(tls[1])) if tls else ()
    server = Process(
        Program(
            name="moto",
            argv=(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port), *secured),
            log=folder / "moto.log",
            is_ready=lambda: ports.is_taken("127.0.0.1", port) if tls else ports.is_http_ok(port, "/moto-api/"),
        )
    )
    server.start()
    try:
        server.wait_ready()
        create_bucket(url, "artifacts", tls and tls[2])
        yield server, S3Settings(bucket="artifacts", endpoint=url, access_key="key", secret_key=BUCKET_SECRET_KEY)
    finally:
        server.kill()


def create_bucket(url: str, name: str, authority: Path | None = None) -> None:
    verify = ssl.create_default_context(cafile=authority) if authority else True
    httpx.put(f"{url}/{name}", verify=verify).raise_for_status()


def list_objects(s3: S3Settings) -> list[str]:
    """Return the object keys of the bucket, or an empty list if no bucket is configured."""
    if not s3.bucket:
        return []
    store = S3Store(
        s3.bucket,
        endpoint=s3.endpoint,
        region=s3.region,
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key,
        client_options={"allow_http": True},
    )
    return [item["path"] for batch in obstore.list(store) for item in batch]
