"""A client that watches all tasks over every fault, and writes down what it is told."""

import threading

from robustness.journal import Journal
from robustness.processes import wait_until
from robustness.records import DELETED, Watched

from taskplane.client import Client, RetryPolicy
from taskplane.v1.task_pb2 import TaskStatus, TaskTransition

# The longest that a fault of the suite may keep the watch from its server.
_RECONNECT_SECONDS = 120.0


class Watcher:
    """Watches on a thread of its own, from `start` until `stop`; `failure` is what ended the watch before.

    `since` is the revision of the snapshot: every transition and deletion after it must be told.
    """

    def __init__(self, server: str, journal: Journal) -> None:
        self.failure: BaseException | None = None
        self.since = 0
        self.revision = 0
        self._is_following = threading.Event()
        self._client = Client(server, retry=RetryPolicy(attempts=10_000, last_bound_seconds=0.5))
        self._journal = journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Begins to watch; returns when the snapshot is complete. Raises Trouble if that takes too long."""
        self._thread.start()
        wait_until(self._is_following.is_set, "the watch's snapshot")

    def stop(self) -> None:
        """Ends the watch."""
        self._over.set()
        self._client.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for event in self._client.watch(reconnect_timeout=_RECONNECT_SECONDS):
                self.revision = max(self.revision, event.revision)
                if event.HasField("transition"):
                    self._write(event.transition.transition)
                elif event.HasField("deleted"):
                    self._journal.write(Watched(event.revision, event.deleted.task_id, DELETED, 0))
                elif event.HasField("snapshot_complete"):
                    self.since = event.revision
                    self._is_following.set()
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the watch
            if not self._over.is_set():
                self.failure = error

    def _write(self, told: TaskTransition) -> None:
        status = TaskStatus.Name(told.to_status).removeprefix("TASK_STATUS_")
        self._journal.write(Watched(told.revision, told.task_id, status, told.attempt))
