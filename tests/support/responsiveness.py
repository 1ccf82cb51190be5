"""A monitor of a server under abuse: the longest wait of each health probe, and the memory of the process."""

import http.client
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TASKPLANE = Path(sys.executable).with_name("taskplane")
# Interval of the probes.
EVERY_SECONDS = 0.05
# After this wait a probe counts as failed.
PROBE_SECONDS = 30.0
_KIB = 1024


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server process: its addresses and its pid."""

    grpc: str
    http: str
    pid: int

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * _KIB

    @property
    def descriptors(self) -> int:
        """Number of open descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@dataclass(slots=True)
class Probed:
    """Waits of one kind of probe, in seconds. A failed probe counts as PROBE_SECONDS."""

    waits: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(self.waits)

    @property
    def median(self) -> float:
        return sorted(self.waits)[len(self.waits) // 2]


@dataclass(slots=True)
class Responsiveness:
    """Waits of /healthz, each over a new connection, and of grpc.health; memory before and after."""

    http: Probed
    grpc: Probed
    rss_before: int
    rss_after: int = 0

    @property
    def longest(self) -> float:
        """Longest wait of all probes."""
        return max(self.http.longest, self.grpc.longest)

    @property
    def grown_bytes(self) -> int:
        """Growth of the resident memory."""
        return self.rss_after - self.rss_before

    def __str__(self) -> str:
        mib = _KIB * _KIB
        return (
            f"longest wait: HTTP {self.http.longest * 1000:.0f} ms of {len(self.http.waits)}, "
            f"gRPC {self.grpc.longest * 1000:.0f} ms of {len(self.grpc.waits)}; "
            f"RSS {self.rss_before / mib:.0f} MiB before, {self.rss_after / mib:.0f} MiB after"
        )


@contextmanager
def server_process(
    database_url: str, *arguments: str, open_files: int = 0, **environment: str
) -> Iterator[ServerProcess]:
    """Run `taskplane serve` on free ports until the context ends; the server must then stop with exit code 0.

    `open_files` is a hard limit of descriptors; 0 keeps the limit of this process.
    """
    where = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--database-url", database_url)
    quiet = os.environ | {"GRPC_VERBOSITY": "ERROR", "TASKPLANE_LOG_LEVEL": "WARNING"} | environment
    with subprocess.Popen(  # noqa: S603  (our own command)
        [TASKPLANE, "serve", *where, *arguments], stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        if open_files:
            # In time: the process still imports, and opens few files before the settings are read.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_files, open_files))
        try:
            assert process.stdout
            ready = process.stdout.readline()
            assert ready.startswith("ready grpc="), ready
            addresses = dict(part.split("=") for part in ready.split()[1:])
            yield ServerProcess(addresses["grpc"], addresses["http"], process.pid)
        finally:
            process.terminate()
            exit_code = process.wait(timeout=30)
        assert exit_code == 0


@contextmanager
def monitored(server: ServerProcess) -> Iterator[Responsiveness]:
    """Probe every 50 ms, from two threads, until the context ends; the result is complete afterwards.

    Each probe succeeds once before the context begins.
    """
    found = Responsiveness(Probed(), Probed(), server.rss_bytes)
    ended = Event()
    with grpc.insecure_channel(server.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # its types are incomplete
        probes: list[tuple[Probed, Callable[[], object]]] = [
            (found.http, lambda: _ask_http(server.http)),
            (found.grpc, lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)),
        ]
        for probed, caller in probes:
            probed.waits.append(_timed(caller))
        threads = [Thread(target=_ask_again, args=(*probe, ended)) for probe in probes]
        for thread in threads:
            thread.start()
        try:
            yield found
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            found.rss_after = server.rss_bytes


def _ask_again(probed: Probed, caller: Callable[[], object], ended: Event) -> None:
    while not ended.wait(EVERY_SECONDS):
        probed.waits.append(_timed(caller))


def _timed(caller: Callable[[], object]) -> float:
    began = time.monotonic()
    try:
        caller()
    except (OSError, http.client.HTTPException, grpc.RpcError) as error:
        # The test sees the wait; the reason is in its output.
        print(f"a probe has failed after {time.monotonic() - began:.3f} s: {error!r}", file=sys.stderr)  # noqa: T201
        return PROBE_SECONDS
    return time.monotonic() - began


def _ask_http(address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
    finally:
        connection.close()
