"""The processes of the demo: `taskplane` commands as users run them, each with a log file."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

TASKPLANE = Path(sys.executable).with_name("taskplane")

START_SECONDS = 20
STOP_SECONDS = 10


class DemoError(Exception):
    """A step of the demo failed."""


class Service:
    """A `taskplane` process that runs inside a `with` block, and must exit with 0."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._arguments = arguments

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            # A new session, because Ctrl-C is for the demo, which then stops its services in order.
            self._process = subprocess.Popen(  # noqa: S603  our own command
                [TASKPLANE, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"GRPC_VERBOSITY": "ERROR"},
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exit_code = self.stop()
        if error is None and exit_code != 0:
            raise DemoError(f"the {self.name} ended with exit code {exit_code}")

    def stop(self) -> int:
        """Stop the process by SIGTERM, after 10 s by SIGKILL, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready` is true. Raises DemoError if the process ends or takes longer than 20 s."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if self._process.poll() is not None:
                raise DemoError(f"the {self.name} ended with exit code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise DemoError(f"the {self.name} was not ready within {START_SECONDS} s")
            time.sleep(0.05)

    def logged(self, beginning: str) -> str | None:
        """Return the rest of the first log line with this beginning, or None."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return next(
            (
                line.removeprefix(beginning).strip()
                for line in lines
                if line.startswith(beginning) and line.endswith("\n")
            ),
            None,
        )


def run_to_end(command: list[str | Path], columns: int = 80) -> str:
    """Return the output of a command on a terminal of `columns`. Raises DemoError, with the output, if it fails."""
    done = subprocess.run(  # noqa: S603  our own commands
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": str(columns), "GRPC_VERBOSITY": "ERROR"},
    )
    if done.returncode != 0:
        raise DemoError(f"`{' '.join(map(str, command))}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout
