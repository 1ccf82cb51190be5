"""The faults, each a function that breaks something, and the one thread that brings them about at random."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from robustness.cluster import Cluster
from robustness.databases import OwnMySQL, SqliteFile
from robustness.journal import Journal
from robustness.processes import Process
from robustness.records import Fault

# Between two faults, so that there is also work in peace.
_PEACE_SECONDS = (0.2, 1.5)


@dataclass(frozen=True, slots=True)
class Chance:
    """What a fault has to work with. `lasting` waits, but not beyond the end of the run."""

    cluster: Cluster
    choice: random.Random
    over: threading.Event

    def lasting(self, shortest: float, longest: float) -> None:
        """Lets the fault last for a random time."""
        self.over.wait(self.choice.uniform(shortest, longest))

    @property
    def lease_seconds(self) -> float:
        """How long a silent unit keeps its tasks."""
        return self.cluster.plan.lease_seconds


def kill_server(chance: Chance) -> str:
    """SIGKILL, and a new process on the same port."""
    server = chance.cluster.server
    server.process.kill()
    chance.lasting(0, 1.5)
    server.start()
    return "server"


def stop_server(chance: Chance) -> str:
    """SIGTERM, and a new process on the same port."""
    server = chance.cluster.server
    server.process.stop()
    chance.lasting(0, 0.5)
    server.start()
    return "server"


def freeze_server(chance: Chance) -> str:
    """SIGSTOP, at times for longer than the lease, and SIGCONT."""
    return _freeze(chance, chance.cluster.server.process)


def kill_unit(chance: Chance) -> str:
    """SIGKILL, and a new process with the same id, at times only after its lease."""
    unit = chance.choice.choice(chance.cluster.units)
    unit.process.kill()
    chance.lasting(0, 1.5 * chance.lease_seconds)
    unit.start()
    return unit.name


def stop_unit(chance: Chance) -> str:
    """SIGTERM: it gives back what it has, and comes again."""
    unit = chance.choice.choice(chance.cluster.units)
    unit.process.stop()
    chance.lasting(0, 1)
    unit.start()
    return unit.name


def freeze_unit(chance: Chance) -> str:
    """SIGSTOP, at times for longer than the lease, and SIGCONT."""
    return _freeze(chance, chance.choice.choice(chance.cluster.units).process)


def cut_connections(chance: Chance) -> str:
    """Breaks the connections of one proxy."""
    proxy = chance.choice.choice([*chance.cluster.proxies()])
    proxy.cut()
    return proxy.name


def delay_connections(chance: Chance) -> str:
    """Slows one proxy down; goes on while other faults happen."""
    proxy = chance.choice.choice([*chance.cluster.proxies()])
    proxy.delay(chance.choice.uniform(0.005, 0.1), chance.choice.uniform(1, 3))
    return proxy.name


def stall_connections(chance: Chance) -> str:
    """Lets nothing through one proxy, at times for longer than the lease; goes on while other faults happen."""
    proxy = chance.choice.choice([*chance.cluster.proxies()])
    proxy.stall(chance.choice.uniform(0.3, 2 * chance.lease_seconds))
    return proxy.name


def stop_database(chance: Chance) -> str:
    """An orderly restart of the run's own MySQL."""
    database = _own(chance)
    database.stop()
    chance.lasting(0, 1)
    database.start()
    return "database"


def kill_database(chance: Chance) -> str:
    """SIGKILL of the run's own MySQL, and its recovery."""
    database = _own(chance)
    database.kill()
    chance.lasting(0, 1)
    database.start()
    return "database"


def lock_database(chance: Chance) -> str:
    """Another process writes to the SQLite file, at times for longer than the server waits for that."""
    database = chance.cluster.plan.database
    assert isinstance(database, SqliteFile)
    database.lock(chance.over, chance.choice.uniform(0.5, 6))
    return "database"


FAULTS: Mapping[str, Callable[[Chance], str]] = {
    fault.__name__: fault
    for fault in (
        kill_server,
        stop_server,
        freeze_server,
        kill_unit,
        stop_unit,
        freeze_unit,
        cut_connections,
        delay_connections,
        stall_connections,
        stop_database,
        kill_database,
        lock_database,
    )
}


def possible(cluster: Cluster) -> list[str]:
    """The names of the faults that this cluster's database allows."""
    impossible = set[str]()
    if not isinstance(cluster.plan.database, OwnMySQL):
        impossible |= {"stop_database", "kill_database"}
    if not isinstance(cluster.plan.database, SqliteFile):
        impossible |= {"lock_database"}
    return [name for name in FAULTS if name not in impossible]


class Breaker:
    """Brings faults about, one after the other, from `start` to `stop`; then all is healed.

    `failure` is what it did not expect.
    """

    def __init__(self, cluster: Cluster, seed: str, names: list[str], journal: Journal) -> None:
        self.failure: BaseException | None = None
        self.done: list[str] = []
        self._cluster = cluster
        self._names = names
        self._journal = journal
        self._over = threading.Event()
        choice = random.Random(seed)  # noqa: S311  it shall be repeatable
        self._chance = Chance(cluster, choice, self._over)
        self._thread = threading.Thread(target=self._run, name="breaker")

    def start(self) -> None:
        """Begins to break things."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the fault that is under way, and heals what goes on by itself."""
        self._over.set()
        self._thread.join()
        for proxy in self._cluster.proxies():
            proxy.heal()

    def _run(self) -> None:
        try:
            while not self._over.wait(self._chance.choice.uniform(*_PEACE_SECONDS)):
                self._break(self._chance.choice.choice(self._names))
        except BaseException as error:  # noqa: BLE001  it is raised by whoever stops the faults
            self.failure = error

    def _break(self, name: str) -> None:
        began = time.monotonic()
        target = FAULTS[name](self._chance)
        self.done.append(name)
        self._journal.write(Fault(name, target, began, time.monotonic()))


def _freeze(chance: Chance, process: Process) -> str:
    process.freeze()
    try:
        chance.lasting(0.3, 2 * chance.lease_seconds)
    finally:
        process.thaw()
    return process.name


def _own(chance: Chance) -> OwnMySQL:
    database = chance.cluster.plan.database
    assert isinstance(database, OwnMySQL)
    return database
