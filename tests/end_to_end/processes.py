"""Processes that a test starts, reads, and ends by their pid."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import IO

TASKPLANE = Path(sys.executable).with_name("taskplane")

# Long enough for any machine: a test that waits this long is about to fail.
PATIENCE_SECONDS = 60.0


class Process:
    """A process under test; its stdout and stderr are kept line by line."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path, **environment: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self._said = Condition()
        self._popen = subprocess.Popen(  # noqa: S603  (our own command)
            command,
            cwd=folder,
            env=os.environ | {"GRPC_VERBOSITY": "ERROR", "PYTHONUNBUFFERED": "1"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._popen.stdout is not None
        self._hearing = Thread(target=self._hear, args=(self._popen.stdout,), daemon=True)
        self._hearing.start()

    def expect(self, text: str) -> str:
        """Wait for a line with the text, and return the first."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._said:
            self._said.wait_for(lambda: found() or not self._hearing.is_alive(), PATIENCE_SECONDS)
        line = found()
        assert line is not None, f"{self.name} has not said {text!r}:\n{self.output}"
        return line

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def kill(self) -> None:
        """Send SIGKILL: the process cannot say goodbye."""
        self._popen.kill()
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def terminate(self) -> int:
        """Send SIGTERM. Return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process. Return the exit code."""
        exit_code = self._popen.wait(PATIENCE_SECONDS)
        self._hearing.join(PATIENCE_SECONDS)
        return exit_code

    def end(self) -> None:
        """End the process by force if it still runs, stopped or not."""
        if self._popen.poll() is None:
            self.kill()

    def _hear(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._add(line.rstrip("\n"))
        self._add("(end of output)")

    def _add(self, line: str) -> None:
        with self._said:
            self.lines.append(line)
            self._said.notify_all()
