"""`headrace secrets`: the passwords and keys of a deployment, drawn once, as a folder of files for each process."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from infra.entry import SERVICES
from infra.local.folder import DataFolder, write_atomically
from infra.local.nats import configuration, with_login
from infra.local.process import StackError

WITH_DATABASE = (*SERVICES, "migrate")
ON_THE_BUS = (*WITH_DATABASE, "gateway", "consumer")

Files = dict[str, str]  # name -> content


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where its servers are, and the user ids that their processes have."""

    mongodb: str = "mongo:27017"
    replica_set: str = "headrace"
    nats: str = "nats:4222"
    ours: int = 10001
    mongod: int = 999  # of the public image; mongod takes no key file of anybody else
    nats_server: int = 0


def write(folder: Path, deployment: Deployment) -> None:
    """What was drawn stays below `secrets`; all other folders follow from it, so this may be repeated at any time."""
    owners = {"mongo": deployment.mongod, "nats": deployment.nats_server}
    try:
        (folder / "secrets").mkdir(parents=True, exist_ok=True, mode=0o700)
        for process, files in _files(DataFolder(folder), deployment).items():
            (folder / process).mkdir(exist_ok=True, mode=0o755)
            for name, text in files.items():
                write_atomically(folder / process / name, text)
                if os.geteuid() == 0:
                    owner = owners.get(process, deployment.ours)
                    os.chown(folder / process / name, owner, owner)
    except OSError as error:
        raise StackError(f"The secrets cannot be written below {folder}: {error}.") from error


def _files(drawn: DataFolder, deployment: Deployment) -> dict[str, Files]:
    databases = {name: drawn.secret(f"mongodb-password-{name}") for name in WITH_DATABASE}
    master_key = drawn.secret("master-key", base64.b64encode(secrets.token_bytes(32)).decode())
    registration = {"registration-token": drawn.secret("registration-token")}
    nats = {name: with_login(f"nats://{deployment.nats}", drawn, name) for name in ON_THE_BUS}
    files = {
        name: {"mongodb-url": _mongodb(name, password, deployment), "nats-url": nats[name], "master-key": master_key}
        for name, password in databases.items()
    }
    administrator = {"admin-password": drawn.secret("admin-password")}
    files["identity"] |= administrator
    files["runners"] |= registration
    return files | {
        "gateway": {"nats-url": nats["gateway"]},
        "agent": registration,
        "mongo": {
            "key-file": drawn.secret("mongodb-key-file", base64.b64encode(secrets.token_bytes(96)).decode()),
            "root-password": drawn.secret("mongodb-password-root"),
            "users.json": json.dumps([_user(name, password) for name, password in databases.items()], indent=2),
        },
        "nats": {"nats.conf": configuration(drawn, "0.0.0.0:4222", "127.0.0.1:8222", Path("/data"))},
        "operator": administrator | {"consumer-nats-url": nats["consumer"]},
    }


def _mongodb(name: str, password: str, deployment: Deployment) -> str:
    return f"mongodb://{name}:{password}@{deployment.mongodb}/?replicaSet={deployment.replica_set}&authSource=admin"


def _user(name: str, password: str) -> dict[str, object]:
    """As MongoDB's createUser and updateUser want it: a service has its own database, and the migration all."""
    databases = SERVICES if name == "migrate" else (name,)
    return {
        "user": name,
        "pwd": password,
        "roles": [{"role": "readWrite", "db": f"headrace_{database}"} for database in databases],
    }
