"""Clients that make calls at random, and write down every call and its response."""

import heapq
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from robustness.apis import Answer, Api, Context, GrpcApi, Refusal, Spec
from robustness.journal import Journal
from robustness.known import MOST_LIVE_TASKS, KnownTasks
from robustness.records import ZONES, Call

from taskplane.v1.task_service_pb2 import (
    BATCH_VERB_CANCEL,
    BATCH_VERB_PAUSE,
    BATCH_VERB_RESTART,
    BATCH_VERB_RESUME,
    BATCH_VERB_START,
)

TASK_TYPES = ("WALK", "WALK", "WALK", "WALK_IN_THREAD", "WALK_IN_THREAD", "WALK_WITHOUT_PAUSE")
_PAUSE_SECONDS = 0.08
# Seconds that a client waits after UNAVAILABLE.
_AWAY_SECONDS = (0.5, 2.0)

# Weight of each verb, and the statuses in which a caller would sensibly use the verb.
WEIGHTS = {
    "create": 25,
    "batch_create": 2,
    "start": 4,
    "pause": 18,
    "resume": 18,
    "cancel": 6,
    "restart": 8,
    "resume_from": 2,
    "restart_from": 1,
    "delete": 4,
    "update": 3,
    "stale": 1,
    "bulk": 3,
    "bulk_filter": 1,
    "get": 10,
    "list": 10,
}
# Bulk delete is left out: a repeat after a lost response returns OK for the remaining tasks.
_IN_BULK = (BATCH_VERB_START, BATCH_VERB_PAUSE, BATCH_VERB_RESUME, BATCH_VERB_CANCEL, BATCH_VERB_RESTART)
_SENSIBLE = {
    "start": {"PENDING"},
    "pause": {"RUNNING"},
    "resume": {"PAUSED"},
    "resume_from": {"PAUSED"},
    "cancel": {"RUNNING", "PAUSED", "PENDING"},
    "restart": {"FAILED", "CANCELLED"},
    "restart_from": {"FAILED", "CANCELLED"},
    "delete": {"SUCCESS", "FAILED", "CANCELLED"},
    "update": {"RUNNING", "PAUSED", "PENDING"},
}
READS = frozenset({"get", "list"})
# Share of calls repeated at once, and share repeated when the server may have lost the responses.
_REPEATED_AT_ONCE = 0.1
_REPEATED_LATE = 0.3
_LATE_SECONDS = (1.5, 15.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The tasks of a call, and its arguments; the fields are those of records.Call."""

    task: int = 0
    names: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    wanted: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A call that can be repeated under the same request id."""

    verb: str
    about: About
    request_id: str
    make: Callable[[Context], Answer]


class Caller:
    """A client on its own thread, from `start` until `stop`; `failure` is an unexpected error."""

    def __init__(self, name: str, seed: str, api: Api, known: KnownTasks, journal: Journal) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self._choice = random.Random(seed)  # noqa: S311  it shall be repeatable
        self._api = api
        self._known = known
        self._journal = journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._created = 0
        # Requests to repeat, by time; the number keeps requests from being compared.
        self._late: list[tuple[float, int, Request]] = []
        self._calls = 0

    def start(self) -> None:
        """Begins to call."""
        self._thread.start()

    def stop(self) -> None:
        """Make no further call."""
        self._over.set()
        self._thread.join()

    def repeat(self, most: int) -> None:
        """Repeat the calls kept for later; by now, late enough."""
        for _, _, request in self._late[:most]:
            self._call(request)
        self._late.clear()

    def close(self) -> None:
        """Lets go of the connection."""
        self._api.close()

    def _run(self) -> None:
        offered = {verb: weight for verb, weight in WEIGHTS.items() if self._offers(verb)}
        try:
            while not self._over.wait(self._choice.uniform(0, _PAUSE_SECONDS)):
                if self._late and self._late[0][0] < time.monotonic():
                    self._call(heapq.heappop(self._late)[-1])
                    continue
                (verb,) = self._choice.choices([*offered], [*offered.values()])
                self._act(verb)
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the traffic
            self.failure = error

    def _offers(self, verb: str) -> bool:
        return verb in self._api.verbs or verb not in GrpcApi.verbs

    def _act(self, verb: str) -> None:
        match verb:
            case "create":
                self._create(1)
            case "batch_create":
                self._create(self._choice.randint(2, 5))
            case "list":
                self._make(verb, lambda _: self._api.list(MOST_LIVE_TASKS), About())
            case "get":
                self._on_task(verb, lambda task, _: self._api.get(task))
            case "delete":
                self._on_task(verb, self._api.delete)
            case "update":
                self._update()
            case "bulk" | "bulk_filter":
                self._control_many(verb)
            case "stale":
                self._control_stale()
            case "resume_from" | "restart_from":
                self._control_from(verb)
            case _:
                self._control(verb)

    def _create(self, count: int) -> None:
        if self._known.live_count() + count > MOST_LIVE_TASKS:
            return
        specs = [self._spec() for _ in range(count)]
        names = tuple(spec.name for spec in specs)
        self._make("create", lambda context: self._api.create(specs, context), About(names=names))

    def _spec(self) -> Spec:
        choose = self._choice
        self._created += 1
        is_long = choose.random() < 0.35
        # Without reports, nothing but commands and heartbeats passes between server and unit.
        is_silent = is_long and choose.random() < 0.4
        steps = choose.randint(40, 120) if is_long else choose.randint(1, 30)
        zone = choose.choice([""] * 9 + [ZONES[0]])
        config: dict[str, object] = {
            "zone": zone,
            "steps": steps,
            "step_seconds": choose.uniform(0.05, 0.1) if is_long else choose.uniform(0.005, 0.1),
            "checkpoint_every": steps + 1 if is_silent else choose.randint(1, 6),
            "stumbles": [choose.choice([0, choose.randint(1, steps)]) for _ in range(choose.randint(0, 3))],
            "final_stumble": choose.random() < 0.2,
            "ballast": choose.choice([0] * 12 + [2_000, 60_000]),
        }
        return Spec(
            type=choose.choice(TASK_TYPES),
            name=f"{self.name}-{self._created}",
            config=config,
            start=choose.random() < 0.9,
            priority=choose.randint(0, 3),
            max_retries=choose.randint(0, 4),
            run_budget=choose.choice([0] * 12 + [2]),
            zone=zone,
        )

    def _control(self, verb: str) -> None:
        wait = self._choice.choice([0, 0, 0.5, 3.0, 8.0])
        self._on_task(verb, lambda task, context: self._api.control(verb, task, context, wait=wait))

    def _control_from(self, verb: str) -> None:
        """Resume or restart a task from a checkpoint, not always the newest."""
        task = self._known.choose(self._choice, _SENSIBLE[verb])
        try:
            numbers = self._grpc.checkpoints(task) if task is not None else []
        except Refusal:
            return
        if task is not None and numbers:
            number, plain = self._choice.choice(numbers), verb.removesuffix("_from")
            about = About(task=task, wanted=number)
            self._make(verb, lambda context: self._api.control(plain, task, context, wait=0, checkpoint=number), about)

    def _update(self) -> None:
        priority = self._choice.randint(0, 3)
        task = self._known.choose(self._choice, _SENSIBLE["update"])
        if task is not None:
            about = About(task=task, wanted=priority)
            self._make("update", lambda context: self._grpc.update(task, context, priority), about)

    def _control_many(self, verb: str) -> None:
        action = self._choice.choice(_IN_BULK)
        chosen = [self._known.choose(self._choice, None) for _ in range(self._choice.randint(2, 6))]
        tasks = sorted({task for task in chosen if task is not None})
        part = f"client-{self._choice.randint(1, 4)}-{self._choice.randint(1, 99)}"
        if verb == "bulk_filter":
            self._make(verb, lambda context: self._grpc.bulk(action, part, context), About(names=(part,)))
        elif tasks:
            self._make(verb, lambda context: self._grpc.bulk(action, tasks, context), About(tasks=tuple(tasks)))

    @property
    def _grpc(self) -> GrpcApi:
        """Return the API for verbs of gRPC alone."""
        return cast("GrpcApi", self._api)

    def _on_task(self, verb: str, call: Callable[[int, Context], Answer]) -> None:
        sensible = _SENSIBLE.get(verb) if self._choice.random() < 0.93 else None
        task = self._known.choose(self._choice, sensible)
        if task is not None:
            self._make(verb, lambda context: call(task, context), About(task=task))

    def _control_stale(self) -> None:
        """Call a verb with an outdated expected revision."""
        task, verb = self._known.choose(self._choice, None), self._choice.choice(["pause", "resume", "cancel"])
        if task is not None and (revision := self._known.revision(task) - 1) > 0:
            self._make(
                "stale",
                lambda context: self._api.control(verb, task, replace(context, revision=revision), wait=0),
                About(task=task),
            )

    def _make(self, verb: str, call: Callable[[Context], Answer], about: About) -> None:
        """Make a call, and sometimes repeat the call under the same request id, as after a lost response."""
        request = Request(verb, about, str(uuid.UUID(int=self._choice.getrandbits(128))), call)
        self._call(request)
        if verb in READS:
            return
        if self._choice.random() < _REPEATED_AT_ONCE:
            self._call(request)
        if self._choice.random() < _REPEATED_LATE:
            self._calls += 1
            due = time.monotonic() + self._choice.uniform(*_LATE_SECONDS)
            heapq.heappush(self._late, (due, self._calls, request))

    def _call(self, request: Request) -> None:
        verb, began, code, reason = request.verb, time.monotonic(), "OK", ""
        answer = Answer((), "")
        try:
            answer = request.make(Context(self.name, request.request_id))
        except Refusal as refusal:
            code, reason = refusal.code, refusal.reason
        if code == "OK" and verb not in READS:
            self._known.acknowledged.set()
        ended, request_id = time.monotonic(), "" if verb in READS else request.request_id
        self._journal.write(
            Call(
                self.name,
                verb,
                request.about.task,
                began,
                ended,
                code,
                reason,
                answer.seen,
                request.about.names,
                request_id,
                answer.digest,
                request.about.wanted,
                request.about.tasks,
            )
        )
        self._known.saw(answer.seen)
        if verb == "delete" and code in {"OK", "NOT_FOUND"}:
            self._known.forget(request.about.task)
        if code in {"UNAVAILABLE", "CANCELLED"}:
            self._over.wait(self._choice.uniform(*_AWAY_SECONDS))
