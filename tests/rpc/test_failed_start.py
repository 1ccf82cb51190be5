"""A server that fails to start releases all its resources."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from rpc.server import eventually
from support.builders import a_unit

from taskplane.gateway.server import HttpServer
from taskplane.server.app import CannotStart, Server
from taskplane.server.config import ServerConfig
from taskplane.server.rpc.server import RpcServer
from taskplane.server.store.database import Database
from taskplane.server.store.migrate import migrate
from taskplane.server.store.store import Store


def open_files(folder: Path) -> set[str]:
    """Return the open descriptors of this process for files in the folder, and for connections."""
    held = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:  # the descriptor that reads the folder
            continue
        if target.startswith((str(folder), "socket:")):
            held.add(f"{each.name} {target}")
    return held


async def fails(*_: object, **__: object) -> None:
    raise OSError("no")


def fails_at_once(*_: object) -> None:
    raise OSError("no")


PARTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "gRPC cannot listen": (RpcServer, "bind", fails_at_once),
    "the units cannot be read": (Store, "all_units", fails),
    "gRPC cannot serve": (RpcServer, "start", fails),
    "HTTP cannot serve": (HttpServer, "start", fails_at_once),
}


async def register_http_unit(folder: Path) -> None:
    """Store a unit to which a starting server connects."""
    database = Database(f"sqlite:///{folder / 'taskplane.db'}")
    migrate(database.engine)
    store = Store(database)
    await store.take_over("127.0.0.1:1")
    await store.save_units([a_unit("unit-http", endpoint="http://127.0.0.1:9")])
    await database.close()


async def assert_fails_and_lets_go(folder: Path, http: str = "127.0.0.1:0") -> None:
    await register_http_unit(folder)
    config = ServerConfig(grpc="127.0.0.1:0", http=http, database_url=f"sqlite:///{folder / 'taskplane.db'}")
    tasks, files = asyncio.all_tasks(), set[str]()
    # Resources that gRPC opens once per process belong to no server: the second start must leave the same.
    for _ in range(2):
        files = open_files(folder)
        with pytest.raises((CannotStart, OSError)):
            await Server(config).start()
    assert asyncio.all_tasks() == tasks
    await eventually(lambda: asyncio.to_thread(lambda: open_files(folder) - files), lambda left: not left)


@pytest.mark.parametrize("part", sorted(PARTS))
async def test_nothing_stays_open_and_nothing_goes_on(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*PARTS[part])
    await assert_fails_and_lets_go(tmp_path)


async def test_the_port_of_grpc_is_given_back_if_that_of_http_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await assert_fails_and_lets_go(tmp_path, f"127.0.0.1:{taken.getsockname()[1]}")
