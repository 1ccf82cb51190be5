"""The faults, each a function that breaks a part, and the thread that causes them at random."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from robustness.apis import seen_in
from robustness.cluster import Cluster
from robustness.databases import ClusterDatabase, OwnMySQL, SqliteFile
from robustness.journal import Journal
from robustness.known import KnownTasks
from robustness.processes import Process
from robustness.proxy import Proxy
from robustness.records import Call, Fault

from taskplane.client import Client, FailedPreconditionError, RetryPolicy, TaskplaneError
from taskplane.v1.task_pb2 import Task

# Seconds between two faults: enough for undisturbed work, with some in progress at the next fault.
_PEACE_SECONDS = (1.5, 4.0)
_OF_STREAMS = 0.5
# The caller's name of the faults' own calls.
_NAME = "breaker"
# The part of its lease for which a unit may miss pauses, and still reconnect in time.
_UNHEARD = 0.6
# Seconds to wait for the response at which the server is killed.
_ANSWER_SECONDS = 3.0


@dataclass(slots=True)
class Chance:
    """The tools of a fault. `lasting` waits, at most until the end of the run."""

    cluster: Cluster
    known: KnownTasks
    choice: random.Random
    over: threading.Event
    journal: Journal
    # How long the fault lasts after its function has returned.
    goes_on_seconds: float = 0.0

    def lasting(self, shortest: float, longest: float) -> None:
        """Lets the fault last for a random time."""
        self.over.wait(self.choice.uniform(shortest, longest))

    def mostly_short(self) -> float:
        """Return a time that is sometimes longer than the lease."""
        is_long = self.choice.random() < 0.3
        return self.choice.uniform(1, 2) * self.lease_seconds if is_long else self.choice.uniform(0.3, 1.5)

    @property
    def lease_seconds(self) -> float:
        """Return how long a silent unit keeps its tasks."""
        return self.cluster.plan.lease_seconds


def kill_server(chance: Chance) -> str:
    """SIGKILL, and a new process on the same ports."""
    server = chance.cluster.server
    server.process.kill()
    chance.lasting(0, 0.5)
    server.start()
    return server.process.name


def kill_server_at_answer(chance: Chance) -> str:
    """Send SIGKILL right after the response to a changing call, with a slow database where possible."""
    if chance.cluster.database_proxy is not None:
        chance.cluster.database_proxy.delay(chance.choice.uniform(0.02, 0.1), _ANSWER_SECONDS)
        chance.over.wait(0.5)
    chance.known.acknowledged.clear()
    chance.known.acknowledged.wait(_ANSWER_SECONDS)
    return kill_server(chance)


def stop_server(chance: Chance) -> str:
    """SIGTERM, and a new process on the same ports."""
    server = chance.cluster.server
    server.process.stop()
    server.start()
    return server.process.name


def freeze_server(chance: Chance) -> str:
    """SIGSTOP, at times for longer than the lease, and SIGCONT."""
    return _freeze(chance, chance.cluster.server.process)


def roll_over(chance: Chance) -> str:
    """Start a second server on the same database, redirect all connections, then stop the first."""
    old, new = chance.cluster.server, chance.cluster.begin_server()
    chance.cluster.lead_to(new)
    chance.lasting(0, 2)
    old.process.retire()
    return old.process.name


def replace_frozen_server(chance: Chance) -> str:
    """Let a second server take the place of a frozen one, which then wakes up for a while."""
    old = chance.cluster.server
    old.process.freeze()
    try:
        chance.cluster.lead_to(chance.cluster.begin_server())
        chance.lasting(0.5, 2)
    finally:
        old.process.thaw()
    chance.lasting(0.5, 2)
    old.process.retire()
    return old.process.name


def kill_unit(chance: Chance) -> str:
    """Send SIGKILL, and start a new process with the same id, sometimes only after its lease."""
    unit = chance.choice.choice(chance.cluster.units)
    unit.process.kill()
    chance.lasting(0, 1.5 * chance.lease_seconds)
    unit.start()
    return unit.name


def kill_server_and_unit(chance: Chance) -> str:
    """Kill server and unit at once, as when their machine fails, and start new processes."""
    server, unit = chance.cluster.server, chance.choice.choice(chance.cluster.units)
    unit.process.kill()
    server.process.kill()
    unit.start()
    server.start()
    return unit.name


def stop_unit(chance: Chance) -> str:
    """Send SIGTERM: the unit releases its attempts, and returns."""
    unit = chance.choice.choice(chance.cluster.units)
    unit.process.stop()
    chance.lasting(0, 1)
    unit.start()
    return unit.name


def drain_unit(chance: Chance) -> str:
    """Drain the unit: it releases its attempts, ends, and returns as another process."""
    unit = chance.choice.choice(chance.cluster.units)
    with Client(chance.cluster.server_address, timeout=10, retry=RetryPolicy(attempts=100)) as client:
        # With a limit: a task may not reach a safe point.
        client.drain_unit(unit.name, within=timedelta(seconds=10), wait=False, actor="operator")
    unit.process.wait_for_end()
    unit.start()
    return unit.name


def freeze_unit(chance: Chance) -> str:
    """SIGSTOP, at times for longer than the lease, and SIGCONT."""
    return _freeze(chance, chance.choice.choice(chance.cluster.units).process)


def cut_connections(chance: Chance) -> str:
    """Break the connections of one proxy, sometimes after a short stall."""
    proxy, silent_seconds = _some_proxy(chance), chance.choice.choice([0.0, 0.8, 1.5])
    proxy.stall(silent_seconds)
    chance.over.wait(0.7 * silent_seconds)
    proxy.cut()
    return proxy.name


def cut_while_pausing(chance: Chance) -> str:
    """Pause a unit's tasks during a stall, and break its connection, so the unit misses the pauses.

    The unit reconnects within its lease, and must receive the pauses again.
    """
    proxies = {unit.name: unit.proxy for unit in chance.cluster.units if unit.has_stream}
    name = _busiest(chance, [*proxies])
    proxies[name].stall(_UNHEARD * chance.lease_seconds)
    _pause_all(chance, name)
    proxies[name].cut()
    chance.lasting(0, 0.5)
    proxies[name].heal()
    return name


def delay_connections(chance: Chance) -> str:
    """Slow one proxy down, for as long as further faults happen."""
    proxy = _some_proxy(chance)
    chance.goes_on_seconds = chance.choice.uniform(1, 3)
    proxy.delay(chance.choice.uniform(0.005, 0.1), chance.goes_on_seconds)
    return proxy.name


def stall_connections(chance: Chance) -> str:
    """Stall one proxy, sometimes for longer than the lease, while further faults happen."""
    proxy = _some_proxy(chance)
    chance.goes_on_seconds = chance.mostly_short()
    proxy.stall(chance.goes_on_seconds)
    return proxy.name


def stop_database(chance: Chance) -> str:
    """Restart the run's own MySQL in order."""
    database = _own(chance)
    database.stop()
    database.start()
    return "database"


def kill_database(chance: Chance) -> str:
    """Send SIGKILL to the run's own MySQL, and let it recover."""
    database = _own(chance)
    database.kill()
    database.start()
    return "database"


def lock_database(chance: Chance) -> str:
    """Write to the SQLite file from another process, sometimes for longer than the server waits."""
    database = chance.cluster.plan.database
    assert isinstance(database, SqliteFile)
    database.lock(chance.over, chance.choice.uniform(0.3, 3))
    return "database"


FAULTS: Mapping[str, Callable[[Chance], str]] = {
    fault.__name__: fault
    for fault in (
        kill_server,
        kill_server_at_answer,
        stop_server,
        freeze_server,
        roll_over,
        replace_frozen_server,
        kill_unit,
        kill_server_and_unit,
        stop_unit,
        drain_unit,
        freeze_unit,
        cut_connections,
        cut_while_pausing,
        delay_connections,
        stall_connections,
        stop_database,
        kill_database,
        lock_database,
    )
}


def possible(database: ClusterDatabase) -> list[str]:
    """Return the names of the faults that a database allows."""
    impossible = set[str]()
    if not isinstance(database, OwnMySQL):
        impossible |= {"stop_database", "kill_database"}
    if isinstance(database, SqliteFile):
        # A frozen server may have locked the file for all others.
        impossible |= {"replace_frozen_server"}
    else:
        impossible |= {"lock_database"}
    return [name for name in FAULTS if name not in impossible]


class Breaker:
    """Causes faults one after the other, from `start` to `stop`; then heals all.

    `failure` is an unexpected error.
    """

    def __init__(self, cluster: Cluster, known: KnownTasks, seed: str, names: Sequence[str], journal: Journal) -> None:
        self.failure: BaseException | None = None
        self.done: list[str] = []
        self._cluster = cluster
        self._names = names
        self._journal = journal
        self._over = threading.Event()
        choice = random.Random(seed)  # noqa: S311  it shall be repeatable
        self._chance = Chance(cluster, known, choice, self._over, journal)
        self._thread = threading.Thread(target=self._run, name="breaker")

    def start(self) -> None:
        """Begins to break things."""
        self._thread.start()

    def stop(self) -> None:
        """End the current fault, and heal lasting ones."""
        self._over.set()
        self._thread.join()
        for proxy in self._cluster.proxies():
            proxy.heal()

    def _run(self) -> None:
        try:
            while self._names and not self._over.wait(self._chance.choice.uniform(*_PEACE_SECONDS)):
                self._break(self._chance.choice.choice(self._names))
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the faults
            self.failure = error

    def _break(self, name: str) -> None:
        began, target = time.monotonic(), "failed"
        self._chance.goes_on_seconds = 0.0
        try:
            target = FAULTS[name](self._chance)
        finally:
            ended = time.monotonic() + self._chance.goes_on_seconds
            self._journal.write(Fault(name, target, began, ended))
        self.done.append(name)


def _freeze(chance: Chance, process: Process) -> str:
    process.freeze()
    try:
        chance.over.wait(chance.mostly_short())
    finally:
        process.thaw()
    return process.name


def _some_proxy(chance: Chance) -> Proxy:
    """Return a proxy; more often than not of a unit with a stream, where most work is in progress."""
    streams = [unit.proxy for unit in chance.cluster.units if unit.has_stream]
    return chance.choice.choice(streams if chance.choice.random() < _OF_STREAMS else [*chance.cluster.proxies()])


def _busiest(chance: Chance, units: Sequence[str]) -> str:
    """Return the unit with the most tasks to pause; one of these at random if the server does not answer."""
    running = Counter[str]()
    with Client(chance.cluster.server_address, timeout=1) as client, suppress(TaskplaneError):
        running.update(task.execution_unit_id for task in _running(client))
    return max(chance.choice.sample(units, len(units)), key=lambda unit: running[unit])


def _running(client: Client, unit: str = "") -> Iterator[Task]:
    """Return the RUNNING tasks without a pending command; of one unit, or of all."""
    for task in client.list_tasks(statuses=["RUNNING"], page_size=1000):
        if unit in {"", task.execution_unit_id} and not task.HasField("pending_command"):
            yield task


def _pause_all(chance: Chance, unit: str) -> None:
    with Client(chance.cluster.server_address, timeout=1) as client, suppress(TaskplaneError):
        for task in _running(client, unit):
            with suppress(FailedPreconditionError):  # not every type can be paused
                began, request = time.monotonic(), str(uuid.UUID(int=chance.choice.getrandbits(128)))
                paused = client.pause_task(task.id, wait=False, actor=_NAME, reason=request, request_id=request)
                times = began, time.monotonic()
                chance.journal.write(
                    Call(_NAME, "pause", task.id, *times, "OK", seen=(seen_in(paused),), request=request)
                )


def _own(chance: Chance) -> OwnMySQL:
    database = chance.cluster.plan.database
    assert isinstance(database, OwnMySQL)
    return database
