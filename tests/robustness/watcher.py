"""Clients that watch all tasks, each in another way, and write down every event."""

import itertools
import random
import threading
from contextlib import closing, suppress

from robustness.journal import Journal
from robustness.processes import wait_until
from robustness.records import DELETED, Refused, Snapshot, Watched

from taskplane.client import Client, OutOfRangeError, RetryPolicy, UnavailableError
from taskplane.v1.task_pb2 import TaskStatus
from taskplane.v1.task_service_pb2 import WatchTasksResponse

# The longest time for which a fault of the suite may keep the watch from its server.
_RECONNECT_SECONDS = 120.0
STEADY = "steady"
REOPENED = "reopened"


class Watcher:
    """Watches without an end, on its own thread, from `start` until `stop`; `failure` is an early end.

    `since` is the revision of the snapshot: every later transition and deletion must follow.
    """

    def __init__(self, name: str, server: str, journal: Journal) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.since = 0
        self.revision = 0
        self._is_following = threading.Event()
        self._client = Client(server, retry=RetryPolicy(attempts=10_000, last_bound_seconds=0.5))
        self._journal = journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Begin to watch; return when the snapshot is complete. Raises Trouble if the snapshot takes too long."""
        self._thread.start()
        wait_until(self._is_following.is_set, "the watch's snapshot")

    def reach(self, revision: int) -> None:
        """Wait until the watch has sent all changes up to a revision. Raises Trouble if it takes too long."""
        wait_until(lambda: self.revision >= revision, f"the {self.name} watch at revision {revision}", seconds=30)

    def stop(self) -> None:
        """End the watch."""
        self._over.set()
        self._client.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the watch
            if isinstance(error, OutOfRangeError):
                self._note_refusal(error.message)
            if not self._over.is_set():
                self.failure = error

    def _note_refusal(self, message: str) -> None:
        self._journal.write(Refused(self.name, self.revision, message))

    def _watch(self) -> None:
        for event in self._client.watch(reconnect_timeout=_RECONNECT_SECONDS):
            self._take(event)

    def _take(self, event: WatchTasksResponse) -> None:
        self.revision = max(self.revision, event.revision)
        if event.HasField("snapshot_complete"):
            self.since = event.revision
            self._is_following.set()
        elif record := told(self.name, event):
            self._journal.write(record)


class ReopeningWatcher(Watcher):
    """Ends its watch after a few events and resumes at the same position, for many seams in one run."""

    def __init__(self, seed: str, server: str, journal: Journal) -> None:
        super().__init__(REOPENED, server, journal)
        self._choice = random.Random(seed)  # noqa: S311  it shall be repeatable

    def _watch(self) -> None:
        self._take_some(None, 1)
        while not self._over.wait(self._choice.uniform(0, 0.2)):
            self._take_some(self.revision, self._choice.randint(1, 12))

    def _take_some(self, after: int | None, count: int) -> None:
        with closing(self._client.watch(after_revision=after, reconnect_timeout=_RECONNECT_SECONDS)) as events:
            for event in events:
                self._take(event)
                count -= not event.HasField("snapshot")
                if count <= 0:
                    return


class SnapshotWatcher(Watcher):
    """Begins watch after watch with a snapshot, each under its own name."""

    def __init__(self, seed: str, server: str, journal: Journal) -> None:
        super().__init__("snapshots", server, journal)
        self._choice = random.Random(seed)  # noqa: S311  it shall be repeatable

    def _watch(self) -> None:
        for number in itertools.count(1):
            # After a break the events received so far are still without a gap.
            with suppress(UnavailableError):
                self._take_snapshot(f"snapshot-{number}", self._choice.randint(1, 20))
            if self._over.wait(self._choice.uniform(0.2, 1.0)):
                return

    def _take_snapshot(self, name: str, count: int) -> None:
        shown: dict[str, int] = {}
        with closing(self._client.watch(reconnect_timeout=0.0)) as events:
            for event in events:
                if event.HasField("snapshot"):
                    shown[str(event.snapshot.id)] = event.snapshot.revision
                elif event.HasField("snapshot_complete"):
                    self._journal.write(Snapshot(name, event.revision, shown))
                    self._is_following.set()
                elif record := told(name, event):
                    self._journal.write(record)
                    count -= 1
                if count <= 0:
                    return


def told(watch: str, event: WatchTasksResponse) -> Watched | None:
    """Return the record of an event; None for an event without transition or deletion."""
    if event.HasField("deleted"):
        return Watched(event.revision, event.deleted.task_id, DELETED, 0, watch)
    if event.HasField("transition"):
        step = event.transition.transition
        status = TaskStatus.Name(step.to_status).removeprefix("TASK_STATUS_")
        return Watched(step.revision, step.task_id, status, step.attempt, watch)
    return None
