"""Clients that call everything at random, and write down every call and its answer."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustness.journal import Journal
from robustness.records import Call, Seen

from taskplane.client import Client, RetryPolicy, TaskplaneError, task_spec
from taskplane.v1.task_pb2 import Task, TaskStatus
from taskplane.v1.task_service_pb2 import (
    BATCH_VERB_CANCEL,
    BATCH_VERB_PAUSE,
    BATCH_VERB_RESTART,
    BATCH_VERB_RESUME,
    BATCH_VERB_START,
    BatchVerb,
)

ONCE = RetryPolicy(attempts=1)
TASK_TYPES = ("WALK", "WALK", "WALK_IN_THREAD", "WALK_WITHOUT_PAUSE")
# More would only wait in the queue.
MOST_LIVE_TASKS = 40
_PAUSE_SECONDS = 0.05

# How often each verb is called, and on which status a caller would sensibly call it.
WEIGHTS = {
    "create": 25,
    "batch_create": 2,
    "start": 5,
    "pause": 14,
    "resume": 16,
    "cancel": 6,
    "restart": 8,
    "delete": 4,
    "bulk": 4,
    "get": 8,
    "list": 10,
}
# A delete in bulk is left out: a repeat whose answer was lost says OK of what is there.
_IN_BULK = (BATCH_VERB_START, BATCH_VERB_PAUSE, BATCH_VERB_RESUME, BATCH_VERB_CANCEL, BATCH_VERB_RESTART)
_SENSIBLE = {
    "start": {"PENDING"},
    "pause": {"RUNNING"},
    "resume": {"PAUSED"},
    "cancel": {"RUNNING", "PAUSED", "PENDING"},
    "restart": {"FAILED", "CANCELLED"},
    "delete": {"SUCCESS", "FAILED", "CANCELLED"},
}


@dataclass
class KnownTasks:
    """The tasks that the clients know of, and the status in which each was last seen. Threads share it."""

    statuses: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, seen: Sequence[Seen]) -> None:
        """Takes what an answer showed."""
        with self.lock:
            self.statuses.update((each.task, each.status) for each in seen)

    def forget(self, task: int) -> None:
        """Takes that a task is gone."""
        with self.lock:
            self.statuses.pop(task, None)

    def live_count(self) -> int:
        """How many are not over, as far as is known."""
        with self.lock:
            return sum(status in {"PENDING", "RUNNING", "PAUSED"} for status in self.statuses.values())

    def choose(self, choice: random.Random, statuses: set[str] | None) -> int | None:
        """A task, one in these statuses if there is any."""
        with self.lock:
            fitting = [task for task, status in self.statuses.items() if statuses is None or status in statuses]
            # Mostly the younger ones: the older are over.
            pool = sorted(fitting or self.statuses)[-MOST_LIVE_TASKS:]
        return choice.choice(pool) if pool else None


class Caller:
    """One client on a thread of its own, from `start` until `over`; `failure` is what it did not expect."""

    def __init__(self, name: str, seed: str, server: str, known: KnownTasks, journal: Journal) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.calls = 0
        self._choice = random.Random(seed)  # noqa: S311  it shall be repeatable
        self._client = Client(server, timeout=5.0, retry=ONCE)
        self._known = known
        self._journal = journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._created = 0

    def start(self) -> None:
        """Begins to call."""
        self._thread.start()

    def stop(self) -> None:
        """Makes no further call."""
        self._over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        verbs, weights = [*WEIGHTS], [*WEIGHTS.values()]
        try:
            while not self._over.wait(self._choice.uniform(0, _PAUSE_SECONDS)):
                (verb,) = self._choice.choices(verbs, weights)
                self._act(verb)
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the traffic
            self.failure = error

    def _act(self, verb: str) -> None:
        match verb:
            case "create":
                self._create(1)
            case "batch_create":
                self._create(self._choice.randint(2, 5))
            case "list":
                self._make(verb, lambda _: [*self._client.list_tasks_page(page_size=MOST_LIVE_TASKS).tasks])
            case "get":
                self._on_task(verb, lambda task, _: [self._client.get_task(task)])
            case "delete":
                self._on_task(verb, self._delete)
            case "bulk":
                self._control_many()
            case _:
                self._control(verb)

    def _create(self, count: int) -> None:
        if self._known.live_count() + count > MOST_LIVE_TASKS:
            return
        specs = [self._spec() for _ in range(count)]
        names = tuple(spec.task_name for spec in specs)
        self._make(
            "create",
            lambda request_id: self._client.batch_create_tasks(specs, request_id=request_id, actor=self.name),
            names=names,
        )

    def _spec(self) -> Any:
        choose = self._choice
        self._created += 1
        max_retries = choose.randint(0, 4)
        steps = choose.randint(1, 40)
        config: dict[str, object] = {
            "steps": steps,
            "step_seconds": choose.uniform(0.005, 0.1),
            "checkpoint_every": choose.randint(1, 6),
            "stumbles": [choose.choice([0, choose.randint(1, steps)]) for _ in range(choose.randint(0, 3))],
            "final_stumble": choose.random() < 0.2,
        }
        return task_spec(
            choose.choice(TASK_TYPES),
            f"{self.name}-{self._created}",
            config,
            start=choose.random() < 0.85,
            priority=choose.randint(0, 3),
            max_retries=max_retries,
        )

    def _control(self, verb: str) -> None:
        wait = self._choice.random() < 0.7
        timeout = self._choice.choice([0.3, 2.0, 5.0])
        method = getattr(self._client, f"{verb}_task")
        self._on_task(
            verb,
            lambda task, request_id: [method(task, wait=wait, timeout=timeout, request_id=request_id, actor=self.name)],
        )

    def _control_many(self) -> None:
        verb = self._choice.choice(_IN_BULK)
        chosen = [self._known.choose(self._choice, None) for _ in range(self._choice.randint(2, 6))]
        tasks = sorted({task for task in chosen if task is not None})
        if tasks:
            self._make("bulk", lambda request_id: self._in_bulk(verb, tasks, request_id))

    def _in_bulk(self, verb: BatchVerb.ValueType, tasks: list[int], request_id: str) -> list[Task]:
        results = self._client.batch_control_tasks(verb, tasks, request_id=request_id, actor=self.name)
        if [each.task_id for each in results] != tasks:
            raise AssertionError(f"{tasks} were asked for, {results} were answered")
        return []

    def _delete(self, task: int, request_id: str) -> list[Task]:
        self._client.delete_task(task, request_id=request_id, actor=self.name)
        self._known.forget(task)
        return []

    def _on_task(self, verb: str, call: Callable[[int, str], list[Task]]) -> None:
        sensible = _SENSIBLE.get(verb) if self._choice.random() < 0.8 else None
        task = self._known.choose(self._choice, sensible)
        if task is not None:
            self._make(verb, lambda request_id: call(task, request_id), task=task)

    def _make(
        self, verb: str, call: Callable[[str], list[Task]], *, task: int = 0, names: tuple[str, ...] = ()
    ) -> None:
        """Calls once, and now and then once more under the same request id, as a caller whose answer was lost."""
        request_id = str(uuid.UUID(int=self._choice.getrandbits(128)))
        self._call(verb, lambda: call(request_id), task, names)
        if self._choice.random() < 0.2:
            self._call(verb, lambda: call(request_id), task, names)

    def _call(self, verb: str, call: Callable[[], list[Task]], task: int, names: tuple[str, ...]) -> None:
        self.calls += 1
        began, code, reason, seen = time.monotonic(), "OK", "", tuple[Seen, ...]()
        try:
            seen = tuple(seen_in(each) for each in call())
        except TaskplaneError as error:
            code, reason = error.code.name, f"{error.reason}: {error.message}"
        self._journal.write(Call(self.name, verb, task, began, time.monotonic(), code, reason, seen, names))
        self._known.saw(seen)


def seen_in(task: Task) -> Seen:
    """What an answer shows of a task."""
    data = task.checkpoint.data.fields
    step = int(data["step"].number_value) if "step" in data else None
    status = TaskStatus.Name(task.status).removeprefix("TASK_STATUS_")
    return Seen(task.id, status, task.revision, task.attempt, step)
