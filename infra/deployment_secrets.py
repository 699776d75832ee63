"""`headrace admin init-secrets`: generate passwords and keys of a deployment, as a folder of files per process."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from infra.local.data_folder import DataFolder, write_atomically
from infra.local.nats_server import render_config, with_login
from infra.local.process import OperatorError
from infra.service_catalog import SERVICES

DATABASE_USERS = (*SERVICES, "migrate")
NATS_LOGINS = (*DATABASE_USERS, "gateway", "consumer")

Files = dict[str, str]  # file name -> content


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses of the servers, and the user ids that own the files of each process."""

    mongodb: str = "mongo:27017"
    replica_set: str = "headrace"
    nats: str = "nats:4222"
    headrace_uid: int = 10001
    mongod_uid: int = 999  # uid in the public image; mongod must own its key file
    nats_server_uid: int = 0


def write_secret_files(folder: Path, deployment: Deployment) -> None:
    """Write the files of all processes. Later calls keep the generated values, which are stored below `secrets`.

    As root, change the owner of each process's files to the user of that process. Raises OperatorError if a file
    cannot be written.
    """
    owners = {"mongo": deployment.mongod_uid, "nats": deployment.nats_server_uid}
    try:
        (folder / "secrets").mkdir(parents=True, exist_ok=True, mode=0o700)
        for process, files in _build_files(DataFolder(folder), deployment).items():
            (folder / process).mkdir(exist_ok=True, mode=0o755)
            for name, text in files.items():
                write_atomically(folder / process / name, text)
                if os.geteuid() == 0:
                    owner = owners.get(process, deployment.headrace_uid)
                    os.chown(folder / process / name, owner, owner)
    except OSError as error:
        raise OperatorError(f"Cannot write the secrets below {folder}: {error}.") from error


def _build_files(store: DataFolder, deployment: Deployment) -> dict[str, Files]:
    databases = {name: store.secret(f"mongodb-password-{name}") for name in DATABASE_USERS}
    master_key = store.secret("master-key", base64.b64encode(secrets.token_bytes(32)).decode())
    registration = {"registration-token": store.secret("registration-token")}
    nats = {name: with_login(f"nats://{deployment.nats}", store, name) for name in NATS_LOGINS}
    files = {
        name: {
            "mongodb-url": _mongodb_url(name, password, deployment),
            "nats-url": nats[name],
            "master-key": master_key,
        }
        for name, password in databases.items()
    }
    administrator = {"admin-password": store.secret("admin-password")}
    files["identity"] |= administrator
    files["runners"] |= registration
    return files | {
        "gateway": {"nats-url": nats["gateway"]},
        "agent": registration,
        "mongo": {
            "key-file": store.secret("mongodb-key-file", base64.b64encode(secrets.token_bytes(96)).decode()),
            "root-password": store.secret("mongodb-password-root"),
            "users.json": json.dumps([_mongodb_user(name, password) for name, password in databases.items()], indent=2),
        },
        "nats": {"nats.conf": render_config(store, "0.0.0.0:4222", "127.0.0.1:8222", Path("/data"))},
        "operator": administrator | {"consumer-nats-url": nats["consumer"]},
    }


def _mongodb_url(name: str, password: str, deployment: Deployment) -> str:
    return f"mongodb://{name}:{password}@{deployment.mongodb}/?replicaSet={deployment.replica_set}&authSource=admin"


def _mongodb_user(name: str, password: str) -> dict[str, object]:
    """Return the arguments of MongoDB's createUser and updateUser.

    A service may access its own database only, and `migrate` the databases of all services.
    """
    databases = SERVICES if name == "migrate" else (name,)
    return {
        "user": name,
        "pwd": password,
        "roles": [{"role": "readWrite", "db": f"headrace_{database}"} for database in databases],
    }
