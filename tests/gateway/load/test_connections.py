"""Silent connections, or too many of them, lock no other caller out."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from gateway.rest import Rest
from gateway.running import RunningServer
from rpc.server import PATIENCE_SECONDS
from support.responsiveness import _ask_http, monitored, server_process

from taskplane.gateway import connections
from taskplane.server.descriptors import share
from taskplane.v1 import operations_service_pb2 as operations_pb
from taskplane.v1 import operations_service_pb2_grpc as operations_grpc


@contextmanager
def connected(address: str, count: int) -> Iterator[list[socket.socket]]:
    """Open silent connections."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)), PATIENCE_SECONDS)) for _ in range(count)]


@pytest.mark.parametrize("said", [b"", b"GET /api/tasks HTTP/1.1\r\nHost: x\r\n", b"G"])
async def test_a_connection_without_a_whole_header_is_closed(
    rest: Rest, server: RunningServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.1)
    host, _, port = server.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    assert answer.startswith(b"HTTP/1.1 408 ") if said else answer == b""
    writer.close()
    assert (await rest.get("/api/tasks")).status == 200


async def test_half_a_header_behind_a_whole_request_is_no_different(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.1)
    host, _, port = server.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert b'{"status":"ok"}' in await reader.readuntil(b"}")
        writer.write(b"GET /heal")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


def test_a_flood_of_silent_connections_keeps_nobody_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'taskplane.db'}"
    with server_process(url, TASKPLANE_MAX_HTTP_CONNECTIONS="20") as server, connected(server.http, 200):
        _ask_http(server.http)
        assert server.descriptors < 150


def test_watches_in_all_connections_leave_room_for_probes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'taskplane.db'}"
    with server_process(url, TASKPLANE_MAX_HTTP_CONNECTIONS="5") as server, connected(server.http, 5) as watches:
        for each in watches:
            each.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert each.recv(20).startswith(b"HTTP/1.1 200 ")
        _ask_http(server.http)
        with connected(server.http, 1) as (late,):
            late.sendall(b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert late.recv(20).startswith(b"HTTP/1.1 503 ")


def test_with_few_open_files_both_apis_survive_silent_connections(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'taskplane.db'}"
    with (
        server_process(url, open_files=256) as server,
        connected(server.http, 300),
        connected(server.grpc, 300),
    ):
        _ask_http(server.http)
        assert server.descriptors < 256
    with server_process(url, open_files=256) as server:
        with connected(server.grpc, 300):
            _ask_http(server.http)
        with grpc.insecure_channel(server.grpc) as channel:
            units = operations_grpc.OperationsServiceStub(channel)
            assert units.ListUnits(operations_pb.ListUnitsRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True)


@pytest.mark.alone
def test_bodies_in_chunks_of_a_byte_hold_nobody_up(tmp_path: Path) -> None:
    head = (
        b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with server_process(f"sqlite:///{tmp_path / 'taskplane.db'}") as server, connected(server.http, 20) as clients:
        for client in clients:
            client.sendall(head)
            client.setblocking(False)  # noqa: FBT003  (it has no name)
        with monitored(server) as probes:
            until = time.monotonic() + 3.0  # until the end of the abuse
            while time.monotonic() < until:
                for client in clients:
                    with suppress(OSError):
                        client.send(b"1\r\n \r\n" * 5000)
                time.sleep(0.01)
        print(probes)  # noqa: T201  (shown when the test fails)
        # On a quiet machine below 250 ms; half a minute before requests were parsed in portions.
        assert probes.longest < PATIENCE_SECONDS


def test_open_files_are_shared_out() -> None:
    assert (share(256, 3000).http, share(256, 3000).grpc) == (48, 48)
    assert share(65_536, 3000).http == 3000
    assert share(65_536, 3000).grpc > 60_000
