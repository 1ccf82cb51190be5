"""The databases that a cluster can stand on."""

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
    """A database of a run. `url` leads to it directly; `port` is where it listens, None if it is a file."""

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int | None: ...

    def start(self) -> None:
        """Makes it ready."""

    def end(self) -> None:
        """Ends what was started."""


class SqliteFile:
    """A file. It cannot be killed apart from the server, but another process can lock it."""

    port = None

    def __init__(self, folder: Path) -> None:
        self._path = folder / "taskplane.db"
        self.url = f"sqlite:///{self._path}"

    def start(self) -> None:
        """The server makes it."""

    def end(self) -> None:
        """Nothing runs."""

    def lock(self, over: threading.Event, seconds: float) -> None:
        """Keeps everybody from writing, for so long or until `over`."""
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            connection.execute("BEGIN IMMEDIATE")
            over.wait(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


class GivenMySQL:
    """A database on a server that others use too: connections to it can be broken, it cannot."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = make_url(url).port or 3306

    def start(self) -> None:
        """It runs."""

    def end(self) -> None:
        """It goes on."""


class NewMySQL:
    """A new database of the run's own on a server that others use too."""

    def __init__(self, server_url: str) -> None:
        self._server = make_url(server_url).set(database=None)
        self._name = f"robustness_{uuid.uuid4().hex}"
        self.url = self._server.set(database=self._name).render_as_string(hide_password=False)
        self.port = self._server.port or 3306

    def start(self) -> None:
        """Creates it."""
        self._execute(f"CREATE DATABASE `{self._name}`")

    def end(self) -> None:
        """Drops it."""
        self._execute(f"DROP DATABASE `{self._name}`")

    def _execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self._server)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


class OwnMySQL:
    """A genuine MySQL server of the run's own, which can be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mysql"
        self.port = free_port()
        self.url = ""

    def start(self) -> None:
        """Starts it; initialises it before the first time."""
        self.url = self._script("start").strip()

    def stop(self) -> None:
        """Shuts it down in order."""
        self._script("stop")

    def kill(self) -> None:
        """SIGKILL. What was committed has been handed to the system and is not lost with the process."""
        pid_file = self._folder / "server.pid"
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        # Where nobody reaps orphans a zombie is left: script and server would take it for a server that runs.
        pid_file.unlink()
        (self._folder / "data" / "server.sock.lock").unlink()

    def end(self) -> None:
        """Ends it and removes its data."""
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
