"""Ports on this machine: who has one, which are free, and short questions to those who listen."""

import random
import socket
from itertools import count

FIRST_PORT, PORT_COUNT = 20_000, 12_000  # below the range from which outgoing connections take theirs
PORT_STEP = 7_919  # has no divisor in common with how many there are: each comes once before one comes again
_draws = count(random.randrange(PORT_COUNT), PORT_STEP)  # noqa: S311


def is_taken(host: str, port: int) -> bool:
    """Also true when the owner shares it (SO_REUSEPORT), because we ask for it alone."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's leftovers do not count
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return True
    return False


def find_free_port() -> int:
    """One that stays free while nobody listens there yet; another one at each call."""
    candidates = (FIRST_PORT + draw % PORT_COUNT for draw in _draws)
    return next(port for port in candidates if not is_taken("127.0.0.1", port))


def is_http_ok(port: int, path: str) -> bool:
    """Whether GET on the loopback port gives 200. By hand: an HTTP library would triple the supervisor's memory."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request.encode())
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False
