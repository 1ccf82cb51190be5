"""The whole server as a process, over its own database, for blocking clients."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TASKPLANE = Path(sys.executable).with_name("taskplane")


@contextmanager
def served(database_url: str) -> Iterator[str]:
    """Run a server until the end of the context, and return the REST API's base URL; the exit code must be 0."""
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
