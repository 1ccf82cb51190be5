"""The processes of the bench: started with a line that says when they are ready, measured by the kernel's counters."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# The command of this version, unless another one is to be measured beside it.
TASKPLANE = os.environ.get("BENCH_TASKPLANE") or str(Path(sys.executable).with_name("taskplane"))
ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A measurement could not be made; its figure would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    resident_kib: int
    at: float

    def cpu_percent_until(self, later: "Usage") -> float:
        """Percent of one core between two looks."""
        return 100.0 * (later.cpu_seconds - self.cpu_seconds) / (later.at - self.at)


class Child:
    """A running process. Its standard output is read line by line, its errors go to the bench's own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self, timeout_seconds: float = START_SECONDS) -> str:
        """Return the next line of its output. Raises BenchError if it ends or says nothing."""
        stdout = self._process.stdout
        if stdout is None:
            raise BenchError("started without a pipe")
        try:
            async with asyncio.timeout(timeout_seconds):
                line = await stdout.readline()
        except TimeoutError as error:
            raise BenchError(f"process {self._process.pid} said nothing for {timeout_seconds:g} s") from error
        if not line:
            raise BenchError(f"process {self._process.pid} has ended")
        return line.decode().strip()

    def usage(self) -> Usage:
        """Return its CPU time and resident memory."""
        folder = Path("/proc") / str(self._process.pid)
        # The fields after the command's name, which may hold blanks: user and system time are the 14th and 15th.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
        status = (folder / "status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        return Usage(cpu, resident, time.monotonic())

    def terminate(self) -> None:
        """Send SIGTERM; what the process still prints can be read."""
        self._process.terminate()

    async def stop(self) -> None:
        """End it by SIGTERM."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(*command: str, errors: int | None = None) -> AsyncIterator[Child]:
    """Run a command from the project's root, its standard error in the file `errors`; end it with the context."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=os.environ | {"GRPC_VERBOSITY": "ERROR"},
        limit=1 << 20,
    )
    running = Child(process)
    try:
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def module(name: str, *arguments: str) -> AsyncIterator[Child]:
    """Run a module of the bench as a process of its own, and wait for its first line, "ready"."""
    async with child(sys.executable, "-m", f"bench.{name}", *arguments) as running:
        line = await running.line()
        if line != "ready":
            raise BenchError(f"bench.{name} said {line!r} instead of ready")
        yield running


@asynccontextmanager
async def server(
    database_url: str, *options: str, taskplane: str = TASKPLANE
) -> AsyncIterator[tuple[Child, dict[str, str]]]:
    """Run `taskplane serve` with its default settings, its log in a file. Gives the process and its addresses."""
    with tempfile.NamedTemporaryFile(prefix="taskplane-bench-", suffix=".log") as log:
        command = (
            taskplane,
            "serve",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--database-url",
            database_url,
            *options,
        )
        async with child(*command, errors=log.fileno()) as running:
            line = await running.line()
            ready, *addresses = line.split()
            if ready != "ready":
                raise BenchError(f"the server said {line!r} instead of ready")
            yield running, dict(each.split("=", 1) for each in addresses)
