"""A run: traffic and faults for a time, then peace, then the proof."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from robustness import faults, validate
from robustness.apis import Api, GrpcApi, RestApi
from robustness.cluster import Cluster, Plan
from robustness.events_watcher import EventsWatcher
from robustness.evidence import Evidence
from robustness.faults import Breaker
from robustness.journal import Journal, Reader
from robustness.known import KnownTasks
from robustness.liar import Liar
from robustness.processes import Trouble
from robustness.records import Refused
from robustness.settle import settle
from robustness.traffic import Caller
from robustness.watcher import STEADY, ReopeningWatcher, SnapshotWatcher, Watcher

# The last client calls the REST API.
CLIENTS = 4
# With fewer successful calls, little is in progress when a fault comes, and a run proves little.
SUCCEEDING = 0.6
_FEW_CALLS = 200
_JOURNAL = "suite.jsonl"
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Outcome:
    """Result of a run: its violations, and the calls and faults that should provoke them."""

    violations: Sequence[str]
    calls: Counter[str]
    faults: Counter[str]
    transitions: int
    steps: int

    @property
    def succeeding(self) -> float:
        """Return the share of calls with code OK."""
        good = sum(count for name, count in self.calls.items() if name.endswith(" OK"))
        return good / max(1, self.calls.total())

    @property
    def is_too_quiet(self) -> bool:
        """Return whether too few calls succeeded for the run to prove much."""
        return self.calls.total() > _FEW_CALLS and self.succeeding < SUCCEEDING


class Activity(Protocol):
    """An actor of a run, on its own thread. `failure` is an unexpected error."""

    failure: BaseException | None

    def start(self) -> None:
        """Begins."""

    def stop(self) -> None:
        """End the actor."""


@dataclass
class Cast:
    """All actors of a run."""

    callers: Sequence[Caller]
    liar: Liar
    watchers: Sequence[Watcher]
    snapshots: SnapshotWatcher
    breaker: Breaker
    _started: list[Activity] = field(default_factory=list)

    def perform(self, seconds: float) -> None:
        """Run traffic and faults for the given time. Raises Trouble if an actor fails."""
        for each in self._activities():
            self._started.append(each)
            each.start()
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < deadline and not any(each.failure for each in self._started):
            pause.wait(0.1)
        self.breaker.stop()
        for each in self.callers:
            each.stop()
        self.liar.stop_creating()
        self.check()

    def _activities(self) -> list[Activity]:
        return [*self.watchers, self.snapshots, self.liar, *self.callers, self.breaker]

    def check(self) -> None:
        """Raise Trouble if an actor has failed."""
        for each in self._started:
            if each.failure:
                raise Trouble(f"{type(each).__name__}: {each.failure!r}") from each.failure

    def leave(self) -> None:
        """Stop every actor."""
        for each in reversed(self._started):
            each.stop()
        for caller in self.callers:
            caller.close()


def conduct(plan: Plan, seed: str, seconds: float, names: Sequence[str] | None = None) -> Outcome:
    """Run a cluster under traffic and the named faults (None: all possible ones), and validate the evidence."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(plan.folder / _JOURNAL)
    with Cluster(plan) as cluster:
        cast = _cast(cluster, seed, faults.possible(plan.database) if names is None else names, journal)
        try:
            cast.perform(seconds)
            troubles, evidence = settle(cluster, cast.callers, cast.watchers)
            cast.check()
        except Trouble as trouble:
            # Only two facts can be proved then: the run has failed, and whether a watch was refused.
            refused = Reader(plan.folder, [plan.folder / _JOURNAL]).all(Refused)
            troubles, evidence = [str(trouble)], Evidence(plan.lease_seconds, refused=refused)
        finally:
            cast.leave()
            journal.close()
    found = [*troubles, *_errors_in_logs(cluster), *validate.violations(evidence)]
    return Outcome(
        violations=found,
        calls=Counter(f"{call.verb} {call.code}" for call in evidence.calls),
        faults=Counter(cast.breaker.done),
        transitions=len(evidence.transitions),
        steps=len(evidence.steps),
    )


def _cast(cluster: Cluster, seed: str, names: Sequence[str], journal: Journal) -> Cast:
    known = KnownTasks()
    clients, watchers = _address(cluster.clients_proxy.port), _address(cluster.watchers_proxy.port)
    apis: list[Api] = [*(GrpcApi(clients) for _ in range(CLIENTS - 1)), RestApi(_address(cluster.rest_proxy.port))]
    return Cast(
        callers=[
            Caller(f"client-{number}", f"{seed} {number}", api, known, journal)
            for number, api in enumerate(apis, start=1)
        ],
        liar=Liar(f"{seed} liar", clients, _address(cluster.liar_proxy.port), journal),
        watchers=[
            Watcher(STEADY, watchers, journal),
            ReopeningWatcher(f"{seed} reopened", watchers, journal),
            EventsWatcher(_address(cluster.rest_proxy.port), journal),
        ],
        snapshots=SnapshotWatcher(f"{seed} snapshots", watchers, journal),
        breaker=Breaker(cluster, known, f"{seed} faults", names, journal),
    )


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"


def _errors_in_logs(cluster: Cluster) -> list[str]:
    """Return the errors that the processes logged."""
    found = []
    for server in cluster.servers:
        lines = server.process.log.read_text(errors="replace").splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        # Libraries log the intended breaks (connections, the database); only the server's own errors count.
        ours = [each for each in entries if each.get("logger", "").startswith("taskplane")]
        bad = [each for each in ours if each.get("level") in {"error", "critical"}]
        is_replaced = server is not cluster.server
        found += [f"{server.process.log.name}: {each}" for each in bad if not _is_due(each, is_replaced=is_replaced)]
    logs = [unit.process.log for unit in cluster.units]
    return found + [f"{log.name}: a traceback" for log in logs if _TRACEBACK in log.read_text(errors="replace")]


def _is_due(entry: dict[str, object], *, is_replaced: bool) -> bool:
    """Return whether a server must log this error: another one has taken over, or the database is away."""
    has_ended = is_replaced and "another server has taken over" in json.dumps(entry)
    return has_ended or entry.get("logger") == "taskplane.server.store.outages"
