"""Processes that can be killed and frozen, each with its own log."""

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
# Sockets that keep ports reserved until this process ends.
_keepers: list[socket.socket] = []


class Trouble(Exception):
    """A process broke its contract: the run has failed, and the message says why."""


class Process:
    """A process of the cluster, restarted with the same command. Its log continues over restarts."""

    def __init__(self, name: str, log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._env = {**os.environ, "GRPC_VERBOSITY": "ERROR", **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins_at = 0

    def start(self, command: Sequence[str | Path]) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self._log_begins_at = log.tell()
            # A new session: Ctrl-C goes to the suite, which then ends its processes in order.
            self._process = subprocess.Popen(  # noqa: S603  our own commands
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL; the process is gone at the return."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def stop(self, *, may_fail: bool = False) -> None:
        """Send SIGTERM; the process must end in time, with 0 unless it may fail."""
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
        """Send SIGTERM, unless the process has ended, as a replaced server does."""
        if self._process is not None and self._process.poll() is None:
            self.stop(may_fail=True)
        self._process = None

    def wait_for_end(self) -> None:
        """Wait until the process ends on its own, in order. Raises Trouble if it does not."""
        self._await_end("it was asked to leave", may_fail=False)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End the process in any case."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log_of_this_start(self) -> str:
        """Return the log since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins_at)
            return log.read().decode(errors="replace")

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for an effect of the process. Raises Trouble if the process ends first, or takes too long."""

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
    """Wait for an effect of other processes. Raises Trouble if they take too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Trouble(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that stays reserved while its owner is down, below the system's range for outgoing connections.

    A bound socket that does not listen keeps other suites off the port. The owner binds the same port with
    SO_REUSEADDR.
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
