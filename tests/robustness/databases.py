"""The databases of a cluster."""

import os
import signal
import sqlite3
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Protocol

import sqlalchemy
from robustness.processes import Trouble, free_port
from sqlalchemy import make_url

MYSQL_SCRIPT = Path(__file__).parents[2] / "scripts" / "mysql.sh"


class ClusterDatabase(Protocol):
    """A database of a run. `url` leads to the database directly; `port` is its port, None for a file."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int | None: ...

    def start(self) -> None:
        """Make the database ready."""

    def end(self) -> None:
        """End the processes of `start`."""


class SqliteFile:
    """A file: there is no process to kill, but another process can lock the file."""

    port = None

    def __init__(self, folder: Path) -> None:
        self._path = folder / "taskplane.db"
        self.url = f"sqlite:///{self._path}"

    def start(self) -> None:
        """Do nothing: the server creates the file."""

    def end(self) -> None:
        """Nothing runs."""

    def lock(self, over: threading.Event, seconds: float) -> None:
        """Block every other writer for a number of seconds, or until `over`."""
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            connection.execute("BEGIN IMMEDIATE")
            over.wait(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


class GivenMySQL:
    """A database on a shared server: faults may break connections, never the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = make_url(url).port or 3306

    def start(self) -> None:
        """Do nothing: the server runs already."""

    def end(self) -> None:
        """Do nothing: the server keeps running."""


class NewMySQL:
    """A new database for the run on a shared server."""

    def __init__(self, server_url: str) -> None:
        self._server = make_url(server_url).set(database=None)
        self._name = f"robustness_{uuid.uuid4().hex}"
        self.url = self._server.set(database=self._name).render_as_string(hide_password=False)
        self.port = self._server.port or 3306

    def start(self) -> None:
        """Create the database."""
        self._execute(f"CREATE DATABASE `{self._name}`")

    def end(self) -> None:
        """Drop the database."""
        self._execute(f"DROP DATABASE `{self._name}`")

    def _execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self._server)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


class OwnMySQL:
    """A genuine MySQL server for the run alone, which can be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mysql"
        self.port = free_port()
        self.url = ""

    def start(self) -> None:
        """Start the server; the first start initialises the data."""
        self.url = self._script("start").strip()

    def stop(self) -> None:
        """Shut the server down in order."""
        self._script("stop")

    def kill(self) -> None:
        """Send SIGKILL. Committed data is with the system, and survives the process."""
        pid_file = self._folder / "server.pid"
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        # Without a reaper of orphans a zombie is left; script and server would mistake it for a running server.
        pid_file.unlink()
        (self._folder / "data" / "server.sock.lock").unlink()

    def end(self) -> None:
        """End the server and remove its data."""
        self._script("wipe")

    def _script(self, verb: str) -> str:
        # With the log flushed to the system at each commit a kill loses nothing, and the disk is spared.
        settings = {
            "TASKPLANE_MYSQL_DIR": str(self._folder),
            "TASKPLANE_MYSQL_PORT": str(self.port),
            "TASKPLANE_MYSQL_ARGS": "--skip-log-bin --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=64M",
        }
        done = subprocess.run(  # noqa: S603  our own script
            [MYSQL_SCRIPT, verb], env=os.environ | settings, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Trouble(f"mysql.sh {verb} failed:\n{done.stderr}")
        return done.stdout
