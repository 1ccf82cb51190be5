"""The end of a run: faults are healed, requests repeated once more, every task ends, and all processes stop."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from robustness.cluster import Cluster
from robustness.evidence import Evidence, gather
from robustness.journal import Reader
from robustness.processes import Trouble, wait_until
from robustness.records import Begun, Ended, FinalUnit
from robustness.traffic import Caller
from robustness.watcher import Watcher

from taskplane.client import Client, IllegalTransitionError, NotFoundError, RetryPolicy
from taskplane.v1.task_pb2 import Task, TaskStatus

# Longest time without a change of any task, in seconds, after all faults: leases and backoffs end within.
STANDSTILL_SECONDS = 40.0
# Longer than answers wait to be stored.
_ANSWERS_STORED_SECONDS = 2.5
_REPEATS = 15
_PATIENT = RetryPolicy(attempts=1000, last_bound_seconds=0.5)
_LIVE = ("PENDING", "RUNNING", "PAUSED")


def settle(cluster: Cluster, callers: Sequence[Caller], watchers: Sequence[Watcher]) -> tuple[list[str], Evidence]:
    """Brings every task to its end, ends the processes in order, and collects evidence and trouble."""
    try:
        with Client(cluster.server_address, timeout=10, retry=_PATIENT) as client:
            # First from the server that saw the whole run, whose memory may be wrong.
            wait_until(lambda: not _wrong_loads(client), "units loaded with what runs there alone", seconds=15)
            _finish(client)
            wait_until(lambda: not _still_held(cluster), "units let go of all attempts", seconds=20)
            units = _units(client)
            _ask_again(cluster, callers)
            _finish(client)
            _catch_up(client, watchers)
            units += _units(client)
        troubles = []
    except Trouble as trouble:
        troubles, units = [f"{trouble} {_still_held(cluster)}"], []
    cluster.stop()
    evidence = gather(
        cluster.plan.folder,
        cluster.plan.database.url,
        lease_seconds=cluster.plan.lease_seconds,
        units=units,
        watched_since=max(watcher.since for watcher in watchers),
        capacities={unit.name: unit.capacity for unit in cluster.units},
    )
    return troubles, evidence


def _ask_again(cluster: Cluster, callers: Sequence[Caller]) -> None:
    """Repeat earlier calls to a server that knows stored data alone."""
    time.sleep(_ANSWERS_STORED_SECONDS)
    cluster.server.process.kill()
    cluster.server.start()
    for caller in callers:
        caller.repeat(_REPEATS)


def _wrong_loads(client: Client) -> list[str]:
    """Return the units with a wrong number of slots in use. Paused tasks take none."""
    running = Counter(task.execution_unit_id for task in client.list_tasks(statuses=["RUNNING"], page_size=1000))
    return [unit.id for unit in client.list_units() if unit.current_load != running[unit.id]]


def _units(client: Client) -> list[FinalUnit]:
    """Return the server's units, once no slot is withheld or in use."""

    def units() -> list[FinalUnit]:
        return [FinalUnit(each.id, each.capacity, each.current_load) for each in client.list_units()]

    with suppress(Trouble):  # a violation in itself
        wait_until(lambda: not any(unit.load for unit in units()), "units without a load", seconds=5)
    return units()


def _finish(client: Client) -> None:
    """Wait until every task is final, as long as tasks still change. Raises Trouble when nothing does."""
    before, since = None, time.monotonic()
    while live := [*client.list_tasks(statuses=_LIVE, page_size=1000)]:
        for task in live:
            _push(client, task)
        now = [(task.id, task.revision) for task in live]
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - since > STANDSTILL_SECONDS:
            shown = ", ".join(f"{each.id} {TaskStatus.Name(each.status)}" for each in live)
            raise Trouble(f"every task final: nothing happens any more to {shown}")
        time.sleep(0.1)


def _push(client: Client, task: Task) -> None:
    """Start or resume a task that waits for a client."""
    if task.HasField("queued_at"):
        return
    try:
        if task.status == TaskStatus.TASK_STATUS_PENDING:
            client.start_task(task.id, wait=False, actor="settle")
        elif task.status == TaskStatus.TASK_STATUS_PAUSED:
            client.resume_task(task.id, wait=False, actor="settle")
    except (IllegalTransitionError, NotFoundError):
        return  # the task has changed since the list


def _catch_up(client: Client, watchers: Sequence[Watcher]) -> None:
    """Wait until each watch has sent the last change, made for this purpose."""
    last = client.create_task("NONE", "last", {"steps": 0}, actor="settle")
    newest = client.cancel_task(last.id, actor="settle").revision
    for watcher in watchers:
        watcher.reach(newest)


def _still_held(cluster: Cluster) -> list[str]:
    """Return the executions still open in running units, though every task is final.

    HTTP has no command to drop a paused attempt that continues elsewhere: such a unit keeps the attempt.
    """
    journals = Reader(cluster.plan.folder, [unit.journal for unit in cluster.units if unit.has_stream])
    ended = {each.execution for each in journals.all(Ended)}
    open_ones = [each for each in journals.all(Begun) if each.execution not in ended]
    return [f"{each.unit} holds attempt {each.attempt} of task {each.task}" for each in open_ones]
