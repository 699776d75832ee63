"""Listening sockets shared by several processes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bind_reuse_port(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a bound socket with SO_REUSEPORT. The kernel distributes connections among the listening processes.

    Raises OSError if another program uses the port without sharing it, or runs as another user.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        yield sock
