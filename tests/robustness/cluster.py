"""A taskplane of real processes on loopback: database, server, units, and proxies on every connection between them."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from robustness.databases import ClusterDatabase
from robustness.processes import Process, free_port
from robustness.proxy import Proxy
from sqlalchemy import make_url

TASKPLANE = Path(sys.executable).with_name("taskplane")
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Plan:
    """What a cluster consists of. The lease is short, so that a run sees many end."""

    folder: Path
    database: ClusterDatabase
    capacities: tuple[int, ...] = (2, 3, 4)
    lease_seconds: float = 3.0
    heartbeat_seconds: float = 0.5


class Server:
    """The server process, always on the same port."""

    def __init__(self, plan: Plan, database_url: str) -> None:
        self.port = free_port()
        self._database_url = database_url
        settings = {
            "TASKPLANE_LEASE_SECONDS": str(plan.lease_seconds),
            "TASKPLANE_HEARTBEAT_SECONDS": str(plan.heartbeat_seconds),
        }
        self.process = Process("server", plan.folder / "server.log", settings)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        address, database = f"127.0.0.1:{self.port}", self._database_url
        where = ("--grpc", address, "--no-http", "--database-url", database)
        self.process.start([TASKPLANE, "serve", *where, "--log-format", "json"])
        self.process.wait_until(lambda: "ready grpc=" in self.process.log_of_this_start(), "ready")


class WalkingUnit:
    """A unit process, always with the same id and behind a proxy of its own."""

    def __init__(self, plan: Plan, name: str, capacity: int, server_port: int) -> None:
        self.name = name
        self.capacity = capacity
        self.proxy = Proxy(name, server_port)
        self.process = Process(name, plan.folder / f"{name}.log", {"PYTHONPATH": _with_tests()})
        self._folder = plan.folder
        self._starts = 0

    def start(self) -> None:
        """Starts it and waits until it obeys signals; it connects by itself."""
        self._starts += 1
        command = [
            *(sys.executable, "-m", "robustness.unit", "--name", self.name, "--capacity", str(self.capacity)),
            *("--server", f"127.0.0.1:{self.proxy.port}"),
            *("--journal", str(self._folder / f"{self.name}-{self._starts}.jsonl")),
        ]
        self.process.start(command)
        self.process.wait_until(lambda: "session: connecting" in self.process.log_of_this_start(), "connecting")


@dataclass
class Cluster:
    """Runs while its context is entered. Clients call `address`."""

    plan: Plan
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._start(starting)
            self._stack = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """Where clients find the server."""
        return f"127.0.0.1:{self.clients_proxy.port}"

    @property
    def server_address(self) -> str:
        """The server itself, past the proxies."""
        return f"127.0.0.1:{self.server.port}"

    def proxies(self) -> Iterator[Proxy]:
        """Every connection that can be disturbed."""
        yield self.clients_proxy
        yield from (unit.proxy for unit in self.units)
        if self.database_proxy is not None:
            yield self.database_proxy

    def stop(self) -> None:
        """Ends units and server in order; raises Trouble if one does not end well."""
        for unit in self.units:
            unit.process.stop()
        self.server.process.stop()

    def _start(self, stack: ExitStack) -> None:
        database = self.plan.database
        stack.callback(database.end)
        database.start()
        self.database_proxy = _database_proxy(database)
        self.server = Server(self.plan, _through(self.database_proxy, database.url))
        self.clients_proxy = Proxy("clients", self.server.port)
        self.units = [
            WalkingUnit(self.plan, f"unit-{number}", capacity, self.server.port)
            for number, capacity in enumerate(self.plan.capacities, start=1)
        ]
        for proxy in self.proxies():
            stack.enter_context(proxy)
        for process in (self.server.process, *(unit.process for unit in self.units)):
            stack.callback(process.end)
        self.server.start()
        for unit in self.units:
            unit.start()


def _database_proxy(database: ClusterDatabase) -> Proxy | None:
    return None if database.port is None else Proxy("database", database.port)


def _through(proxy: Proxy | None, url: str) -> str:
    if proxy is None:
        return url
    return make_url(url).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)


def _with_tests() -> str:
    # The unit is a module of this suite.
    return os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
