"""The gateway's port: kept for gateways from before the first listens, and refused when somebody has it."""

import socket
from dataclasses import replace

import pytest

from infra.local import ports
from infra.local.process import StackError
from infra.local.stack import gateway_port
from libs.settings import Settings
from libs.sockets import shared


def test_nobody_else_draws_the_port_of_the_gateway_while_none_listens() -> None:
    settings = replace(Settings(), port=ports.free_port())
    with gateway_port(settings):
        assert ports.is_taken(settings.host, settings.port)
        with shared(settings.host, settings.port) as sock, socket.socket() as client:
            sock.listen()
            client.connect((settings.host, settings.port))
            sock.accept()[0].close()
    assert not ports.is_taken(settings.host, settings.port)


def test_a_port_that_somebody_has_is_refused_in_words() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(StackError, match="is taken by another program"),
        gateway_port(replace(Settings(), port=other.getsockname()[1])),
    ):
        pass


def test_ports_that_are_drawn_one_after_the_other_are_all_different() -> None:
    drawn = [ports.free_port() for _ in range(500)]
    assert len({*drawn}) == 500
