"""Signing in and out. A password is exchanged for a personal access token, which signing out revokes."""

import socket
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from client.errors import ApiError, ClientError
from client.http_client import Client
from client.session.server_list import KnownServer, change_servers

TOKEN_DAYS = 90
UNKNOWN_TOKEN_CODES = ("TOKEN_NOT_FOUND", "TOKEN_INVALID", "TOKEN_EXPIRED", "UNAUTHORIZED")


def sign_in_with_password(url: str, username: str, password: str, name: str = "") -> KnownServer:
    """Create a token for this machine and store it. The token of an earlier sign-in under the same name is revoked."""
    with Client.sign_in(url, username, password) as client:
        user = client.get("/user/info")
        last_day = (datetime.now(UTC) + timedelta(days=TOKEN_DAYS)).date().isoformat()
        fields = {"name": _create_token_name(), "expires_at": last_day}
        token = client.post("/user/tokens", {"token": fields})
    server = KnownServer(
        name or urlsplit(url).netloc, url, user["username"], token["value"], token["id"], token["expires_at"]
    )
    _store(server)
    return server


def sign_in_with_token(url: str, token: str, name: str = "") -> KnownServer:
    with Client(url, token) as client:
        user = client.get("/user/info")
    server = KnownServer(name or urlsplit(url).netloc, url, user["username"], token)
    _store(server)
    return server


def sign_out(name: str) -> ClientError | None:
    """Forget the server, and revoke its token if `sign_in_with_password` created it.

    Return the error if the token could not be revoked, else None.
    """
    with change_servers() as servers:
        server = servers.servers[name]
        servers.remove(name)
    return _revoke(server)


def _store(server: KnownServer) -> None:
    with change_servers() as servers:
        former = servers.servers.get(server.name)
        servers.add(server)
    if former and former.token != server.token:
        _revoke(former)  # if this fails, the token expires on its last day


def _revoke(server: KnownServer) -> ClientError | None:
    if server.token_id is None:
        return None
    try:
        with Client(server.url, server.token) as client:
            client.delete(f"/user/tokens/{server.token_id}")
    except ApiError as error:
        return None if error.code in UNKNOWN_TOKEN_CODES else error
    except ClientError as error:
        return error
    return None


def _create_token_name() -> str:
    """Return the name of the token, without characters that the server rejects, at most 255 characters long."""
    name = f"headrace on {socket.gethostname()}"
    return "".join(char for char in name if char.isprintable() and char not in "{}$")[:255]
