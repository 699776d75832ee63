"""Shell completion with names from the server. If a request fails, there are no suggestions."""

from collections.abc import Callable, Iterator
from typing import Any

from client.errors import ClientError

MAX_COMPLETIONS = 50

Completion = tuple[str, str]  # value and its description


def complete_projects(incomplete: str) -> list[Completion]:
    return _complete(incomplete, _list_projects)


def complete_builds(incomplete: str) -> list[Completion]:
    return _complete(incomplete, _list_builds)


def complete_servers(incomplete: str) -> list[Completion]:
    from client.session.server_list import load_servers

    try:
        servers = load_servers().servers.values()
    except ClientError:
        return []
    return [(server.name, server.url) for server in servers if server.name.startswith(incomplete)]


def _complete(incomplete: str, list_names: Callable[[Any], Iterator[Completion]]) -> list[Completion]:
    from client.session.connection import connect

    try:
        with connect() as client:
            return [found for found in list_names(client) if found[0].startswith(incomplete)][:MAX_COMPLETIONS]
    except ClientError:
        return []


def _list_projects(client: Any) -> Iterator[Completion]:
    return ((row["name"], row["repository"]) for row in client.get("/developer/projects"))


def _list_builds(client: Any) -> Iterator[Completion]:
    from itertools import islice

    from client.builds.overview import iterate_builds

    return (
        (str(build["id"]), f"{build['project']}, {build['status']}")
        for build in islice(iterate_builds(client), MAX_COMPLETIONS)
    )
