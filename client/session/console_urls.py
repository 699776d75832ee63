"""URLs of the web console, like `https://ci.example/ui/builds/17`, which commands accept instead of ids."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from client.errors import UsageError

CONSOLE_PATH = "/ui/"


@dataclass(frozen=True, slots=True)
class Target:
    """An object on a server. `server_url` is empty if the argument was not a URL."""

    id: str
    server_url: str = ""


def parse_target(argument: str, resource: str) -> Target:
    """Parse an argument: an id, or the URL of a page of a `resource` such as `builds`. Raises UsageError."""
    if "://" not in argument:
        return Target(argument)
    parts = urlsplit(argument)
    base, separator, path = parts.path.partition(CONSOLE_PATH)
    names = path.strip("/").split("/")
    if separator and len(names) >= 2 and names[0] == resource:
        return Target(names[1], f"{parts.scheme}://{parts.netloc}{base}")
    raise UsageError(f"{argument} is not the URL of a page of {resource}, like https://ci.example/ui/{resource}/17.")


def normalize_server_url(text: str) -> str:
    """Return the URL of a server without the path of its console or API. Raises UsageError."""
    url = text.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{text!r} is not the URL of a server, like https://ci.example.")
    if parts.username or parts.password:
        raise UsageError("The URL must not contain a login. Use --username and --password-stdin.")
    path = f"{parts.path}/"
    for suffix in (CONSOLE_PATH, "/api/"):
        path = path.split(suffix)[0] if suffix in path else path
    return f"{parts.scheme}://{parts.netloc.lower()}{path.rstrip('/')}"
