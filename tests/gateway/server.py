"""The whole server as a process, over a database of its own, for clients that block."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TASKPLANE = Path(sys.executable).with_name("taskplane")


@contextmanager
def served(database_url: str) -> Iterator[str]:
    """The base URL of a server's HTTP face, until the context ends; it must then stop by itself, with exit code 0."""
    where = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--database-url", database_url)
    quiet = os.environ | {"GRPC_VERBOSITY": "ERROR", "TASKPLANE_LOG_LEVEL": "WARNING"}
    with subprocess.Popen(  # noqa: S603  (our own command)
        [TASKPLANE, "serve", *where], stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        try:
            assert process.stdout
            ready = process.stdout.readline()
            assert ready.startswith("ready grpc="), ready
            yield "http://" + ready.partition("http=")[2].strip()
        finally:
            process.terminate()
            exit_code = process.wait(timeout=30)
        assert exit_code == 0
