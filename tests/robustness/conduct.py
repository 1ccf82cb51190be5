"""One run: traffic and faults for a time, then peace, then the proof."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from robustness import faults, validate
from robustness.cluster import Cluster, Plan
from robustness.evidence import Evidence, gather
from robustness.faults import Breaker
from robustness.journal import Journal
from robustness.processes import Trouble, wait_until
from robustness.records import FinalUnit
from robustness.traffic import Caller, KnownTasks
from robustness.watcher import Watcher

from taskplane.client import Client, IllegalTransitionError, NotFoundError, RetryPolicy
from taskplane.v1.task_pb2 import Task, TaskStatus

CLIENTS = 4
# With all faults over, leases end, backoffs pass, and what is left of the work is done.
SETTLE_SECONDS = 90.0
_PATIENT = RetryPolicy(attempts=1000, last_bound_seconds=0.5)
_TRACEBACK = "Traceback (most recent call last)"
_LIVE = ("PENDING", "RUNNING", "PAUSED")


@dataclass(frozen=True)
class Outcome:
    """What a run came to: its violations, and what was done to provoke them."""

    violations: Sequence[str]
    calls: Counter[str]
    faults: Counter[str]
    transitions: int
    steps: int


class Activity(Protocol):
    """What goes on on a thread of its own. `failure` is what it did not expect."""

    failure: BaseException | None

    def start(self) -> None:
        """Begins."""

    def stop(self) -> None:
        """Ends."""


def conduct(plan: Plan, seed: str, seconds: float, names: Sequence[str] | None = None) -> Outcome:
    """Runs a cluster under traffic and the faults of these names (None: all that are possible), and validates it."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(plan.folder / "suite.jsonl")
    with Cluster(plan) as cluster:
        breaker = Breaker(cluster, f"{seed} faults", [*(names or faults.possible(cluster))], journal)
        known = KnownTasks()
        callers = [
            Caller(f"client-{number}", f"{seed} {number}", cluster.address, known, journal)
            for number in range(1, CLIENTS + 1)
        ]
        watcher = Watcher(cluster.address, journal)
        try:
            watcher.start()
            _disturb(breaker, callers, watcher, seconds)
            troubles, evidence = _settled(cluster, watcher)
        except Trouble as trouble:
            # Nothing can be proved then, but that the run has failed.
            troubles, evidence = [str(trouble)], Evidence(plan.lease_seconds)
        finally:
            watcher.stop()
            journal.close()
    found = [*troubles, *_errors_in_logs(cluster), *validate.violations(evidence)]
    return _outcome(found, evidence, breaker)


def _disturb(breaker: Breaker, callers: Sequence[Caller], watcher: Watcher, seconds: float) -> None:
    """Lets traffic and faults go on for so long. Raises what one of them did not expect."""
    active: list[Activity] = [*callers, breaker]
    for each in active:
        each.start()
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline and not any(each.failure for each in (*active, watcher)):
        pause.wait(0.1)
    for each in reversed(active):
        each.stop()
    for each in (*active, watcher):
        if each.failure:
            raise Trouble(f"{type(each).__name__}: {each.failure!r}") from each.failure


def _settled(cluster: Cluster, watcher: Watcher) -> tuple[list[str], Evidence]:
    """Brings every task to its end, ends the processes in order, and gathers the evidence, and what went wrong."""
    troubles = []
    with Client(cluster.server_address, timeout=10, retry=_PATIENT) as client:
        try:
            _finish(client)
            _catch_up(client, watcher)
        except Trouble as trouble:
            troubles.append(str(trouble))
        units = [FinalUnit(each.id, each.capacity, each.current_load) for each in client.list_units()]
    cluster.stop()
    evidence = gather(
        cluster.plan.folder,
        cluster.plan.database.url,
        lease_seconds=cluster.plan.lease_seconds,
        units=units,
        watched_since=watcher.since,
        capacities={unit.name: unit.capacity for unit in cluster.units},
    )
    return troubles, evidence


def _finish(client: Client) -> None:
    def is_all_over() -> bool:
        live = [*client.list_tasks(statuses=_LIVE, page_size=1000)]
        for task in live:
            _push(client, task)
        return not live

    wait_until(is_all_over, "every task final", SETTLE_SECONDS)


def _push(client: Client, task: Task) -> None:
    """Starts or resumes a task that waits for somebody to do so."""
    if task.HasField("queued_at"):
        return
    try:
        if task.status == TaskStatus.TASK_STATUS_PENDING:
            client.start_task(task.id, wait=False, actor="settle")
        elif task.status == TaskStatus.TASK_STATUS_PAUSED:
            client.resume_task(task.id, wait=False, actor="settle")
    except (IllegalTransitionError, NotFoundError):
        return  # it has moved on meanwhile


def _catch_up(client: Client, watcher: Watcher) -> None:
    newest = max((task.revision for task in client.list_tasks(page_size=1000)), default=0)
    # A deletion may be newer: a watch of nothing begins with the position up to which there is something to tell.
    with closing(client.watch(task_types=["NONE"])) as events:
        newest = max(newest, next(events).revision)
    wait_until(lambda: watcher.revision >= newest, f"the watch at revision {newest}", seconds=30)


def _errors_in_logs(cluster: Cluster) -> list[str]:
    """What the processes themselves hold for errors."""
    lines = cluster.server.process.log.read_text(errors="replace").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    # The libraries log what is broken on purpose (connections, the database); what matters is what we make of it.
    ours = [each for each in entries if each.get("logger", "").startswith("taskplane")]
    found = [f"server.log: {each}" for each in ours if each.get("level") in {"error", "critical"}]
    logs = [unit.process.log for unit in cluster.units]
    return found + [f"{log.name}: a traceback" for log in logs if _TRACEBACK in log.read_text(errors="replace")]


def _outcome(found: Sequence[str], evidence: Evidence, breaker: Breaker) -> Outcome:
    return Outcome(
        violations=found,
        calls=Counter(f"{call.verb} {call.code}" for call in evidence.calls),
        faults=Counter(breaker.done),
        transitions=len(evidence.transitions),
        steps=len(evidence.steps),
    )
