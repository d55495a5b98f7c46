"""Which ports are taken, and which are chosen."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from zocket.dev import ports
from zocket.dev.addresses import local_address
from zocket.dev.ports import free_port, gateway_port, is_free
from zocket.errors import BootError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield server.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free("127.0.0.1", taken)
    assert is_free("127.0.0.1", free_port())


def test_a_wanted_port_is_taken_or_refused_never_replaced(taken: int) -> None:
    port = free_port()
    assert gateway_port("127.0.0.1", port) == port
    with pytest.raises(BootError, match=f"port {taken} is taken by another program"):
        gateway_port("127.0.0.1", taken)


def test_the_default_port_gives_way_to_the_next_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "GATEWAY_PORT", taken)
    found = gateway_port("127.0.0.1", None)
    assert taken < found < taken + ports.NEIGHBOURS
    monkeypatch.setattr(ports, "NEIGHBOURS", 1)
    with pytest.raises(BootError, match="are all taken"):
        gateway_port("127.0.0.1", None)


def test_zero_is_any_free_port_below_the_range_of_the_system() -> None:
    assert ports.LOWEST <= gateway_port("127.0.0.1", 0) <= ports.HIGHEST


def test_a_host_that_is_none_is_an_error() -> None:
    with pytest.raises(BootError, match=r"cannot listen on no\.such\.host\.invalid"):
        is_free("no.such.host.invalid", 1)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1:80"),
        ("0.0.0.0", "127.0.0.1:80"),
        ("", "127.0.0.1:80"),
        ("::", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("box.example", "box.example:80"),
    ],
)
def test_an_address_is_shown_as_a_browser_here_can_open_it(host: str, shown: str) -> None:
    assert local_address(host, 80) == shown
