"""The model: tasks under verbs, reports and reconnects of one unit, in plain Python, from design.md alone.

The model has no times, no database and no concurrency: every event is immediate.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["PENDING", "RUNNING", "PAUSED", "SUCCESS", "FAILED", "CANCELLED"]
OrderKind = Literal["start", "resume", "pause", "cancel"]
FINAL = ("SUCCESS", "FAILED", "CANCELLED")


class Refused(Exception):
    """The verb is refused; the text is the reason in ErrorInfo."""


@dataclass(frozen=True, order=True)
class Order:
    """A command due to the unit."""

    task: int
    attempt: int
    kind: OrderKind


@dataclass(frozen=True)
class Shown:
    """The compared fields of a task."""

    status: str
    attempt: int
    is_queued: bool
    pending: str
    retry_count: int
    checkpoint: int


@dataclass
class ModelTask:
    """A task. `queued` is its place in the queue; `checkpoint` the newest number, 0 for none."""

    id: int
    priority: int
    max_retries: int
    status: Status = "PENDING"
    attempt: int = 0
    # Its work finished while it was PAUSED.
    is_finished: bool = False
    queued: int | None = None
    pending: Literal["", "PAUSE", "CANCEL"] = ""
    retry_count: int = 0
    checkpoint: int = 0
    last_checkpoint: int = 0
    history: list[Status] = field(default_factory=lambda: ["PENDING"])

    def become(self, *statuses: Status) -> None:
        """Change the status, through intermediate statuses if several are given."""
        for status in statuses:
            self.status = status
            self.is_finished = False
            self.history.append(status)

    def store(self, checkpoint: int) -> None:
        """Store a checkpoint, unless it is a repeat."""
        if checkpoint > self.last_checkpoint:
            self.checkpoint = self.last_checkpoint = checkpoint

    @property
    def shown(self) -> Shown:
        """Return the task as responses show it."""
        return Shown(
            self.status, self.attempt, self.queued is not None, self.pending, self.retry_count, self.checkpoint
        )


class Model:
    """All tasks, and the one unit that runs them. `orders` collects the commands due to the unit."""

    def __init__(self, capacity: int) -> None:
        self.tasks: dict[int, ModelTask] = {}
        self.orders: list[Order] = []
        self.is_connected = False
        # Attempts held paused in memory by the connected unit, by task.
        self.held: dict[int, int] = {}
        self._capacity = capacity
        self._turn = 0

    def create(self, task: int, priority: int, max_retries: int, *, start: bool) -> None:
        """Add a task under an id from the server."""
        self.tasks[task] = ModelTask(task, priority, max_retries)
        if start:
            self._queue(self.tasks[task])

    def dispatch(self) -> None:
        """Give queued tasks to the unit while it has free slots: highest priority first, then oldest."""
        line = [task for task in self.tasks.values() if task.queued is not None]
        running = sum(task.status == "RUNNING" for task in self.tasks.values())
        free = self._capacity - running if self.is_connected else 0
        for task in sorted(line, key=lambda each: (-each.priority, each.queued))[: max(0, free)]:
            kind: OrderKind = "resume" if self.held.pop(task.id, 0) == task.attempt and task.attempt else "start"
            task.become("RUNNING")
            task.attempt += 1
            task.queued = None
            self.orders.append(Order(task.id, task.attempt, kind))

    # Verbs. Each raises Refused if the status does not allow it.

    def start(self, task: ModelTask) -> None:
        if task.status == "PENDING":
            self._queue(task)
        elif task.status != "RUNNING":
            raise Refused("ILLEGAL_TRANSITION")

    def pause(self, task: ModelTask) -> None:
        if task.pending == "CANCEL" or task.status not in ("RUNNING", "PAUSED"):
            raise Refused("ILLEGAL_TRANSITION")
        if task.status == "PAUSED":
            task.queued = None
        elif not task.pending:
            self._command(task, "PAUSE")

    def resume(self, task: ModelTask) -> None:
        if task.pending or task.status not in ("RUNNING", "PAUSED"):
            raise Refused("ILLEGAL_TRANSITION")
        if task.is_finished:
            self._finish(task)
        elif task.status == "PAUSED":
            self._queue(task)

    def cancel(self, task: ModelTask) -> None:
        if task.status in ("SUCCESS", "FAILED"):
            raise Refused("ILLEGAL_TRANSITION")
        if task.status == "CANCELLED" or task.pending == "CANCEL":
            return
        task.queued = None
        if task.status == "RUNNING" or task.id in self.held:
            self._command(task, "CANCEL")
        else:
            task.become("CANCELLED")

    def restart(self, task: ModelTask) -> None:
        if task.status == "PENDING" and task.queued is not None:
            return
        if task.status not in ("FAILED", "CANCELLED"):
            raise Refused("ILLEGAL_TRANSITION")
        task.become("PENDING")
        task.retry_count = task.checkpoint = 0
        self._queue(task)

    def delete(self, task: ModelTask) -> None:
        if task.status not in FINAL:
            raise Refused("TASK_NOT_FINAL")
        del self.tasks[task.id]
        self.held.pop(task.id, None)

    # Reports, in the name of an attempt. Reports of an older attempt, or on a final task, change nothing.

    def checkpointed(self, task: int, attempt: int, number: int) -> None:
        if live := self._live(task, attempt):
            live.store(number)

    def paused(self, task: int, attempt: int, number: int) -> None:
        live = self._live(task, attempt)
        if live is not None and live.status == "RUNNING":
            self.held[task] = attempt
            live.store(number)
            live.become("PAUSED")
            live.pending = "" if live.pending == "PAUSE" else live.pending

    def succeeded(self, task: int, attempt: int) -> None:
        known = self.tasks.get(task)
        if known is not None and (known.attempt, known.status, known.pending) == (attempt, "PAUSED", ""):
            self.held.pop(task, None)
            known.is_finished = True
            if known.queued is not None:
                self._finish(known)
        elif live := self._running(task, attempt):
            live.become("SUCCESS")
            live.pending = ""

    def _finish(self, task: ModelTask) -> None:
        """Resume a task whose work finished while it was PAUSED."""
        task.become("RUNNING", "SUCCESS")
        task.attempt += 1
        task.queued = None

    def failed(self, task: int, attempt: int, *, retryable: bool) -> None:
        if live := self._running(task, attempt):
            live.become("FAILED")
            if retryable and live.pending != "CANCEL":
                self._retry(live)
            live.pending = ""

    def cancelled(self, task: int, attempt: int) -> None:
        if live := self._live(task, attempt):
            live.become("CANCELLED")
            live.pending, live.queued = "", None
            self.held.pop(task, None)

    def released(self, task: int, attempt: int, number: int) -> None:
        """Release the attempt from the unit, at work or paused."""
        live = self._live(task, attempt)
        self._drop(task, attempt)
        if live is None:
            return
        live.store(number)
        if live.status == "RUNNING":
            live.become("PAUSED")
            if not live.pending:
                self._queue(live)
        if live.pending == "CANCEL":
            live.become("CANCELLED")
        live.pending = ""

    def command_rejected(self, task: int, attempt: int, *, is_unknown: bool) -> None:
        """Reject a command. `is_unknown`: the unit no longer has the attempt."""
        if live := self._live(task, attempt):
            if live.pending == "PAUSE":
                live.pending = ""
            elif is_unknown:
                live.become("CANCELLED")
                live.pending = ""
                self.held.pop(task, None)

    def start_rejected(self, task: int, attempt: int) -> None:
        """No retry is counted."""
        if live := self._running(task, attempt):
            if self._settle_as_asked(live):
                return
            live.become("FAILED", "PENDING")
            self._queue(live)

    # The unit's connection.

    def disconnected(self) -> None:
        """Break the connection; the unit may return, and keeps its tasks. Its inventory is unknown."""
        self.is_connected = False
        self.held.clear()

    def left(self) -> None:
        """Say goodbye: the unit's running attempts are lost."""
        self.disconnected()
        for task in self._by_id():
            if task.status == "RUNNING":
                self._lose(task)

    def connected(self, inventory: Mapping[int, int]) -> dict[int, str]:
        """Connect the unit with these attempts by task. Return the verdict on each."""
        self.is_connected = True
        verdicts = {task: self._verdict(task, attempt) for task, attempt in inventory.items()}
        self.held = {task: inventory[task] for task, verdict in verdicts.items() if verdict == "PAUSE"}
        for task in self._by_id():
            self._reconcile(task, is_there=inventory.get(task.id) == task.attempt)
        return verdicts

    def _reconcile(self, task: ModelTask, *, is_there: bool) -> None:
        if is_there and task.status in ("RUNNING", "PAUSED"):
            if task.pending:
                self._order_pending(task)
        elif task.status == "RUNNING":
            self._lose(task)
        elif task.status == "PAUSED" and task.pending:
            task.become("CANCELLED")
            task.pending = ""

    def _verdict(self, task: int, attempt: int) -> str:
        known = self.tasks.get(task)
        if known is None or known.attempt != attempt:
            return "DROP"
        return {"RUNNING": "KEEP", "PAUSED": "PAUSE"}.get(known.status, "DROP")

    def _live(self, task: int, attempt: int) -> ModelTask | None:
        """Return the task of a current attempt; otherwise order the unit to drop the attempt, and return None."""
        known = self.tasks.get(task)
        if known is not None and known.attempt == attempt and known.status in ("RUNNING", "PAUSED"):
            return known
        self._drop(task, attempt)
        return None

    def _running(self, task: int, attempt: int) -> ModelTask | None:
        live = self._live(task, attempt)
        if live is not None and live.status == "RUNNING":
            return live
        self._drop(task, attempt)
        return None

    def _drop(self, task: int, attempt: int) -> None:
        if self.held.get(task) == attempt:
            del self.held[task]

    def _lose(self, task: ModelTask) -> None:
        if not self._settle_as_asked(task):
            task.become("FAILED")
            self._retry(task)

    def _settle_as_asked(self, task: ModelTask) -> bool:
        """Apply the pending command of a lost attempt."""
        if not task.pending:
            return False
        task.become("PAUSED" if task.pending == "PAUSE" else "CANCELLED")
        task.pending = ""
        return True

    def _retry(self, task: ModelTask) -> None:
        if task.retry_count < task.max_retries:
            task.become("PENDING")
            task.retry_count += 1
            self._queue(task)

    def _queue(self, task: ModelTask) -> None:
        if task.queued is None:
            self._turn += 1
            task.queued = self._turn

    def _command(self, task: ModelTask, verb: Literal["PAUSE", "CANCEL"]) -> None:
        task.pending = verb
        if self.is_connected:
            self._order_pending(task)

    def _order_pending(self, task: ModelTask) -> None:
        self.orders.append(Order(task.id, task.attempt, "pause" if task.pending == "PAUSE" else "cancel"))

    def _by_id(self) -> Iterable[ModelTask]:
        return sorted(self.tasks.values(), key=lambda task: task.id)


VERBS: Mapping[str, Callable[[Model, ModelTask], None]] = {
    "Start": Model.start,
    "Pause": Model.pause,
    "Resume": Model.resume,
    "Cancel": Model.cancel,
    "Restart": Model.restart,
}
