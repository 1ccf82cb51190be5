"""A server and units as processes, started by the command line like an operator would, over one database."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from end_to_end.processes import PATIENCE_SECONDS, TASKPLANE, Process

from taskplane.client import Client, RetryPolicy
from taskplane.server.core.task import TRANSITIONS, TaskStatus
from taskplane.v1 import task_pb2
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_OFFLINE

# For a server that restarts; a restart is quick.
PATIENT = RetryPolicy(attempts=600, first_bound_seconds=0.05, last_bound_seconds=0.1)


class Cluster:
    """All processes run in one folder, so relative paths name the test's own files."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.address = "127.0.0.1:0"
        self.processes: list[Process] = []
        self._client: Client | None = None
        self._has_served = False

    # Processes.

    def start(self, name: str, command: Sequence[str | Path], **environment: str) -> Process:
        process = Process(name, command, self.folder, **environment)
        self.processes.append(process)
        return process

    def serve(self, *options: str, **environment: str) -> Process:
        """Start a server, on a free port at first and later on the same port, and wait until it is ready."""
        where = ["--grpc", self.address, "--no-http", "--database-url", self.database_url]
        server = self.start("server", [TASKPLANE, "serve", *where, *options], **environment)
        self.address = server.expect("ready grpc=").removeprefix("ready grpc=")
        self._has_served = True
        return server

    def run_unit(self, unit_id: str = "unit-1", *options: str) -> Process:
        """Start a data processing unit, and wait until it is connected."""
        return self.start_unit(unit_id, "unit", "run", "data-processing", "--id", unit_id, *options)

    def start_unit(self, unit_id: str, *arguments: str, **environment: str) -> Process:
        """Start any unit by the command line, and wait until it is connected."""
        unit = self.start(unit_id, [TASKPLANE, "--server", self.address, *arguments], **environment)
        unit.expect("session: welcomed")
        return unit

    def taskplane(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(  # noqa: S603  (our own command)
            [TASKPLANE, "--server", self.address, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def document(self, *arguments: str) -> Any:
        """Return the JSON output of a command that must succeed."""
        done = self.taskplane(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def end(self) -> None:
        """End every remaining process, and check the stored histories."""
        if self._client:
            self._client.close()
        for process in reversed(self.processes):
            process.end()
        for process in self.processes:
            print(f"----- {process.name}\n{process.output}")  # noqa: T201  (pytest shows it when a test fails)
        if self._has_served:
            assert_histories_are_paths(self.database_url)

    # Tasks.

    @property
    def client(self) -> Client:
        """Return a client for quick calls; the client outlasts restarts of the server."""
        if self._client is None:
            self._client = Client(self.address, timeout=PATIENCE_SECONDS, retry=PATIENT)
        return self._client

    def process_csv(self, config: dict[str, Any]) -> int:
        """Create and start a data processing task. Return its id."""
        return self.client.create_task("DATA_PROCESSING", "users", config, start=True).id

    def wait_until(self, task_id: int, holds: Callable[[task_pb2.Task], bool]) -> task_pb2.Task:
        """Follow the task until the condition holds, and return the task."""
        watch = self.client.watch([task_id], include_progress=True, max_progress_per_second=100)
        for _ in watch:
            task = self.client.get_task(task_id)
            if holds(task):
                watch.close()
                return task
            ended = task.status == task_pb2.TASK_STATUS_FAILED and not task.HasField("queued_at")
            assert not ended, f"the task has failed: {task.error_message}"
        raise AssertionError("a watch never ends by itself")

    def wait_for(self, task_id: int, status: str) -> task_pb2.Task:
        wanted = task_pb2.TaskStatus.Value(f"TASK_STATUS_{status}")
        return self.wait_until(task_id, lambda task: task.status == wanted)

    def wait_for_progress(self, task_id: int, fraction: float) -> task_pb2.Task:
        """Wait until the task has this progress, and check that the task is not finished."""
        task = self.wait_until(task_id, lambda task: task.progress.fraction >= fraction)
        assert task.status == task_pb2.TASK_STATUS_RUNNING, "the task ended too soon for this test"
        return task

    def wait_for_unit(self, unit_id: str) -> None:
        """Wait until the unit is connected; by polling, since no event reports connections."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(unit.id == unit_id and unit.session_id for unit in self.client.list_units()):
            assert time.monotonic() < deadline, f"{unit_id} has not connected"
            time.sleep(0.02)

    def is_connected(self, unit_id: str) -> bool:
        return self.client.get_unit(unit_id).status != EXECUTION_UNIT_STATUS_OFFLINE

    def statuses(self, task_id: int) -> list[str]:
        """Return the statuses of the task, as the command line prints them."""
        return [each["toStatus"] for each in self.document("task", "history", str(task_id))]

    def reasons(self, task_id: int, to_status: str) -> list[str]:
        """Return the reasons of the task's transitions into a status."""
        history = self.document("task", "history", str(task_id))
        return [each["reason"] for each in history if each["toStatus"] == to_status]


def assert_histories_are_paths(database_url: str) -> None:
    """Check by SQL that every history is a path in the table that ends in the task's status."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connection:
        query = "SELECT task_id, from_status, to_status FROM task_status_history ORDER BY id"
        rows = connection.execute(sqlalchemy.text(query)).all()
        tasks = connection.execute(sqlalchemy.text("SELECT id, status FROM tasks")).all()
    engine.dispose()
    at: dict[int, TaskStatus | None] = {}
    for task_id, before, after in rows:
        assert at.get(task_id) == (before and TaskStatus(before))
        assert TaskStatus(after) in TRANSITIONS[at.get(task_id)]
        at[task_id] = TaskStatus(after)
    assert {task_id: TaskStatus(status) for task_id, status in tasks} == at
