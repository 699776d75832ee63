"""TCP ports of this machine: used ports, free ports, and health requests."""

import os
import random
import socket
from itertools import count

FIRST_PORT, PORT_COUNT = 20_000, 12_000  # below the ephemeral ports
PORT_RANGE_VARIABLE = "LOCAL_PORT_RANGE"  # such as "20000-23999"; gives parallel test processes separate ranges
PORT_STEP = 7_919  # a prime, so that every port of the range is visited once per round
_draws = count(random.randrange(PORT_COUNT), PORT_STEP)  # noqa: S311


def is_taken(host: str, port: int) -> bool:
    """Return whether a port is in use, also if it is shared with SO_REUSEPORT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return True
    return False


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def find_free_port() -> int:
    """Return a free port. Calls in this process return different ports until the range is exhausted."""
    first, size = FIRST_PORT, PORT_COUNT
    if limits := os.environ.get(PORT_RANGE_VARIABLE):
        first, last = map(int, limits.split("-"))
        size = last - first + 1
    candidates = (first + draw % size for draw in _draws)
    return next(port for port in candidates if not is_taken("127.0.0.1", port))


def is_http_ok(port: int, path: str) -> bool:
    """Return whether a GET request to a local port returns 200. False if nothing listens there.

    The function uses no HTTP library, which would triple the supervisor's memory.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request.encode())
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False
