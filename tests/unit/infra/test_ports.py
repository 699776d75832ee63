"""Ports of the local stack: the gateway port is reserved early, and free ports are distinct and within a range."""

import socket

import pytest

from infra.local import ports
from infra.local.process import OperatorError
from infra.local.stack import reserve_gateway_port
from libs.settings import Settings
from libs.sockets import bind_reuse_port


def test_the_gateway_port_is_held_until_a_gateway_listens() -> None:
    settings = Settings().model_copy(update={"port": ports.find_free_port()})
    with reserve_gateway_port(settings):
        assert ports.is_taken(settings.host, settings.port)
        with bind_reuse_port(settings.host, settings.port) as sock, socket.socket() as client:
            sock.listen()
            client.connect((settings.host, settings.port))
            sock.accept()[0].close()
    assert not ports.is_taken(settings.host, settings.port)


def test_a_gateway_port_in_use_is_rejected() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(OperatorError, match="is used by another program"),
        reserve_gateway_port(Settings().model_copy(update={"port": other.getsockname()[1]})),
    ):
        pass


def test_a_port_range_limits_the_drawn_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.PORT_RANGE_VARIABLE, "30000-30099")
    assert {ports.find_free_port() for _ in range(50)} <= {*range(30000, 30100)}


def test_free_ports_are_all_different() -> None:
    drawn = [ports.find_free_port() for _ in range(500)]
    assert len({*drawn}) == 500
