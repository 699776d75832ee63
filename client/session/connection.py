"""The server and the token of a command: from the environment, or from the list of servers."""

import os
from typing import TYPE_CHECKING

from client.errors import SignedOut, UsageError
from client.session.console_urls import normalize_server_url
from client.session.server_list import KnownServer, load_servers

if TYPE_CHECKING:
    from client.http_client import Client

SERVER_VARIABLE, URL_VARIABLE, TOKEN_VARIABLE = "HEADRACE_SERVER", "HEADRACE_URL", "HEADRACE_TOKEN"


def find_server(url: str = "") -> KnownServer:
    """Return the server at `url` with its token, or without `url` the selected server, else the current one.

    A token is sent only to the server that issued it. Raises SignedOut if no token for the server is known, and
    UsageError.
    """
    selected = _find_selected()
    if selected and (not url or selected.url == url):
        if selected.token:
            return selected
        url = selected.url
    servers = load_servers()
    found = servers.find_url(url) if url else servers.servers.get(servers.current)
    if found is None:
        raise SignedOut(f"Not signed in{f' to {url}' if url else ''}. Run `headrace login {url or 'URL'}`.")
    return found


def is_signed_in() -> bool:
    try:
        find_server()
    except SignedOut:
        return False
    return True


def connect(url: str = "") -> "Client":
    from client.http_client import Client

    server = find_server(url)
    return Client(server.url, server.token)


def _find_selected() -> KnownServer | None:
    """Return the server that HEADRACE_SERVER names, else that at HEADRACE_URL, which may have no token, else None."""
    if name := os.environ.get(SERVER_VARIABLE):
        servers = load_servers().servers
        if name not in servers:
            raise UsageError(f"Unknown server {name}. `headrace servers` lists the names.")
        return servers[name]
    url, token = os.environ.get(URL_VARIABLE, ""), os.environ.get(TOKEN_VARIABLE, "")
    if token and not url:
        raise UsageError(f"{TOKEN_VARIABLE} is set without {URL_VARIABLE}. Set both.")
    return KnownServer(url, normalize_server_url(url), "", token) if url else None
