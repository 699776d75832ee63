"""The file with the servers that the user is signed in to, and their tokens. Only its owner can read it."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from client.errors import UsageError

FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class KnownServer:
    name: str
    url: str
    username: str
    token: str = field(repr=False)
    token_id: int | None = None  # None: `login` did not create the token, so `logout` does not revoke it
    expires_at: str | None = None  # last day on which the token is valid, in UTC; None: unknown


@dataclass(slots=True)
class ServerList:
    current: str = ""
    servers: dict[str, KnownServer] = field(default_factory=dict)

    def find_url(self, url: str) -> KnownServer | None:
        matching = [server for server in self.servers.values() if server.url == url]
        return next((server for server in matching if server.name == self.current), next(iter(matching), None))

    def add(self, server: KnownServer) -> None:
        self.servers[server.name] = server
        self.current = server.name

    def remove(self, name: str) -> None:
        del self.servers[name]
        if self.current == name:
            self.current = next(iter(self.servers), "")


def list_path() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "headrace" / "servers.json"


def load_servers() -> ServerList:
    path = list_path()
    try:
        content = json.loads(path.read_text())
        servers = {name: KnownServer(name=name, **fields) for name, fields in content["servers"].items()}
        return ServerList(content["current"], servers)
    except FileNotFoundError:
        return ServerList()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}). Correct or delete the file.") from error


@contextmanager
def change_servers() -> Iterator[ServerList]:
    """Yield the list of servers, and save it unless the block raises an error. The file is replaced atomically."""
    servers = load_servers()
    yield servers
    path = list_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    content = {
        "current": servers.current,
        "servers": {name: _without_name(server) for name, server in servers.servers.items()},
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp creates it with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _without_name(server: KnownServer) -> dict[str, str | int | None]:
    fields: dict[str, str | int | None] = asdict(server)
    del fields["name"]
    return fields
