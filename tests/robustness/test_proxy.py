"""The proxy forwards, cuts and stalls: a fault without effect would prove nothing."""

import socket
import threading
from collections.abc import Iterator

import pytest
from robustness.proxy import Proxy

TIMEOUT_SECONDS = 20.0


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Run a server that echoes, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    while data := _received(connection):
                        connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT_SECONDS)


@pytest.fixture
def proxy(echo_port: int) -> Iterator[Proxy]:
    with Proxy("echo", echo_port) as proxy:
        yield proxy


def _received(connection: socket.socket) -> bytes:
    """Return the received bytes; empty if the connection was ended, in order or not."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_SECONDS)


def test_it_passes_on(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"


def test_a_cut_ends_connections_and_new_ones_pass(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        proxy.cut()
        assert _received(connection) == b""
    test_it_passes_on(proxy)


def test_a_stall_holds_back_until_it_is_healed(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        proxy.stall(seconds=3600)
        connection.sendall(b"hello")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.heal()
        connection.settimeout(TIMEOUT_SECONDS)
        assert connection.recv(100) == b"hello"
