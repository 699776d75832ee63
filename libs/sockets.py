"""Listening sockets that several processes share."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bind_reuse_port(host: str, port: int) -> Iterator[socket.socket]:
    """Bound and not yet listening; the kernel spreads the connections among the processes that listen.

    Raises OSError when a program has the port that does not share it, or whose user is another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        yield sock
