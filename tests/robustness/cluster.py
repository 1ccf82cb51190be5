"""A taskplane of real processes on loopback: database, servers, units, and proxies on every connection between them."""

import os
import re
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
from robustness.records import HTTP_UNIT, UNARY_UNIT, has_stream
from sqlalchemy import make_url

TASKPLANE = Path(sys.executable).with_name("taskplane")
TESTS = Path(__file__).parents[1]
# Names the source roots that precede the installed ones, in servers and units: the roots of a mutated copy.
MUTATED_PATH = "TASKPLANE_ROBUSTNESS_PATH"


@dataclass(frozen=True)
class Plan:
    """The parts of a cluster. The lease is short, so a run sees many leases end."""

    folder: Path
    database: ClusterDatabase
    capacities: tuple[int, ...] = (2, 3, 4)
    http_capacity: int = 2
    unary_capacity: int = 1
    lease_seconds: float = 3.0
    heartbeat_seconds: float = 0.5


class Server:
    """A server process, always on the same ports."""

    def __init__(self, plan: Plan, database_url: str, number: int) -> None:
        self.port = free_port()
        self.http_port = free_port()
        self._database_url = database_url
        settings = {
            "TASKPLANE_LEASE_SECONDS": str(plan.lease_seconds),
            "TASKPLANE_HEARTBEAT_SECONDS": str(plan.heartbeat_seconds),
            "TASKPLANE_POLL_SECONDS": "0.5",
            # A stop is an outage, and calls that wait for an effect would prolong the stop.
            "TASKPLANE_DRAIN_SECONDS": "1",
        }
        if path := os.environ.get(MUTATED_PATH):
            settings["PYTHONPATH"] = path
        name = f"server-{number}"
        self.process = Process(name, plan.folder / f"{name}.log", settings)

    def start(self) -> None:
        """Start the server, and wait until it is ready."""
        addresses = ("--grpc", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http_port}")
        where = (*addresses, "--database-url", self._database_url)
        self.process.start([TASKPLANE, "serve", *where, "--log-format", "json"])
        self.process.wait_until(lambda: "ready grpc=" in self.process.log_of_this_start(), "ready")


class WalkingUnit:
    """A unit process with a fixed id, behind its own proxy. The name selects the kind of link."""

    def __init__(self, plan: Plan, name: str, capacity: int, server: Server) -> None:
        self.name = name
        self.capacity = capacity
        # Only a stream link receives all messages in one order.
        self.has_stream = has_stream(name)
        self.calls_rest = name == HTTP_UNIT
        self.proxy = Proxy(name, server.http_port if self.calls_rest else server.port)
        self.process = Process(name, plan.folder / f"{name}.log", {"PYTHONPATH": _with_tests()})
        self._http_port = 0 if self.has_stream else free_port()
        self._folder = plan.folder
        self._starts = 0

    @property
    def journal(self) -> Path:
        """Return the journal of the current process."""
        return self._folder / f"{self.name}-{self._starts}.jsonl"

    def start(self) -> None:
        """Start the unit, and wait until it handles signals; the unit connects on its own."""
        self._starts += 1
        address = f"127.0.0.1:{self.proxy.port}"
        command = [
            *(sys.executable, "-m", "robustness.unit", "--name", self.name, "--capacity", str(self.capacity)),
            *("--server", address),
            *(() if self.has_stream else ("--http-port", str(self._http_port))),
            *(("--unary",) if self.name == UNARY_UNIT else ()),
            *("--journal", str(self.journal)),
        ]
        self.process.start(command)
        first_words = "session: connecting" if self.has_stream else "(http|unary): "
        self.process.wait_until(
            lambda: re.search(first_words, self.process.log_of_this_start()) is not None, "connecting"
        )


@dataclass
class Cluster:
    """Runs within its context. Clients call `address`."""

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
    def server(self) -> Server:
        """Return the server behind all proxies."""
        return self.servers[-1]

    @property
    def server_address(self) -> str:
        """The server itself, past the proxies."""
        return f"127.0.0.1:{self.server.port}"

    def proxies(self) -> Iterator[Proxy]:
        """Return every connection that faults can disturb."""
        yield from (*self._grpc_proxies(), *self._http_proxies())
        if self.database_proxy is not None:
            yield self.database_proxy

    def begin_server(self) -> Server:
        """Start another server on the same database. No proxy leads there yet."""
        server = Server(self.plan, self._database_url, len(self.servers) + 1)
        self._stack.callback(server.process.end)
        server.start()
        return server

    def lead_to(self, server: Server) -> None:
        """Leads new connections to another server."""
        for proxy in self._grpc_proxies():
            proxy.target = server.port
        for proxy in self._http_proxies():
            proxy.target = server.http_port
        self.servers.append(server)

    def stop(self) -> None:
        """End units and server in order. Raises Trouble if a process does not end well."""
        for unit in self.units:
            unit.process.stop()
        self.server.process.stop()

    def _grpc_proxies(self) -> Iterator[Proxy]:
        yield from (self.clients_proxy, self.watchers_proxy, self.liar_proxy)
        yield from (unit.proxy for unit in self.units if not unit.calls_rest)

    def _http_proxies(self) -> Iterator[Proxy]:
        yield self.rest_proxy
        yield from (unit.proxy for unit in self.units if unit.calls_rest)

    def _start(self, stack: ExitStack) -> None:
        database = self.plan.database
        stack.callback(database.end)
        database.start()
        self.database_proxy = None if database.port is None else Proxy("database", database.port)
        self._database_url = _through(self.database_proxy, database.url)
        server = Server(self.plan, self._database_url, 1)
        self.servers = [server]
        self.clients_proxy = Proxy("clients", server.port)
        self.watchers_proxy = Proxy("watchers", server.port)
        self.liar_proxy = Proxy("liar", server.port)
        self.rest_proxy = Proxy("rest", server.http_port)
        self.units = [
            WalkingUnit(self.plan, f"unit-{number}", capacity, server)
            for number, capacity in enumerate(self.plan.capacities, start=1)
        ]
        self.units.append(WalkingUnit(self.plan, HTTP_UNIT, self.plan.http_capacity, server))
        self.units.append(WalkingUnit(self.plan, UNARY_UNIT, self.plan.unary_capacity, server))
        for proxy in self.proxies():
            stack.enter_context(proxy)
        for process in (server.process, *(unit.process for unit in self.units)):
            stack.callback(process.end)
        server.start()
        for unit in self.units:
            unit.start()


def _through(proxy: Proxy | None, url: str) -> str:
    if proxy is None:
        return url
    return make_url(url).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)


def _with_tests() -> str:
    # The unit is a module of this suite.
    return os.pathsep.join([str(TESTS), os.environ.get(MUTATED_PATH, ""), os.environ.get("PYTHONPATH", "")])
