"""Processes that can be killed and frozen, each with a log of its own."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# The sockets that keep ports, until this process ends.
_keepers: list[socket.socket] = []


class Trouble(Exception):
    """A process did what it never should: the run has failed, and this says why."""


class Process:
    """A process of the cluster, started again and again with the same command. Its log goes on from start to start."""

    def __init__(self, name: str, log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._env = {**os.environ, "GRPC_VERBOSITY": "ERROR", **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins_at = 0

    def start(self, command: Sequence[str | Path]) -> None:
        """Starts it."""
        with self.log.open("ab") as log:
            self._log_begins_at = log.tell()
            # A session of its own: Ctrl-C is the suite's, which then ends its processes in order.
            self._process = subprocess.Popen(  # noqa: S603  our own commands
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL: it is gone when this returns."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def stop(self, *, may_fail: bool = False) -> None:
        """SIGTERM: it must end in time, with 0 unless it may fail."""
        self._running().terminate()
        self._await_end("SIGTERM", may_fail=may_fail)

    def _await_end(self, what: str, *, may_fail: bool) -> None:
        process = self._process
        if process is None:
            raise Trouble(f"{self.name} does not run")
        try:
            exit_code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Trouble(f"{self.name} did not end within {STOP_SECONDS:g} s of {what}") from error
        self._process = None
        if exit_code != 0 and not may_fail:
            raise Trouble(f"{self.name} ended with {exit_code} on {what}")

    def retire(self) -> None:
        """SIGTERM, unless it has ended by itself, as a server does that another one has replaced."""
        if self._process is not None and self._process.poll() is None:
            self.stop(may_fail=True)
        self._process = None

    def wait_for_end(self) -> None:
        """Waits until it ends by itself, in order. Raises Trouble if it does not."""
        self._await_end("it was asked to leave", may_fail=False)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends it whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log_of_this_start(self) -> str:
        """What it has written since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins_at)
            return log.read().decode(errors="replace")

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Waits for something that it is to bring about. Raises Trouble if it ends before, or takes too long."""

        def is_so_while_it_runs() -> bool:
            self._running()
            return is_so()

        wait_until(is_so_while_it_runs, f"{self.name}: {what}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            exit_code = self._process.returncode if self._process else None
            raise Trouble(f"{self.name} ended by itself, with exit code {exit_code}: see {self.log.name}")
        return self._process


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Waits for what other processes bring about. Raises Trouble if it takes too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Trouble(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def free_port() -> int:
    """A port that stays ours while its owner is down: below those that the system gives to outgoing connections.

    A bound socket that does not listen keeps other suites off it. The owner binds beside it, with SO_REUSEADDR.
    """
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311  nothing to guess here
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            keeper = socket.socket()
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("127.0.0.1", port))
        except OSError:
            continue
        _keepers.append(keeper)
        return port
