"""Silence counts only while the server can receive messages: not during downtime and stalls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from support.actions import do
from support.builders import ALICE, a_spec
from support.connected_unit import ConnectedUnit

from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import LeaseExpired
from taskplane.server.core.task import Limits, Progress, TaskStatus, Verb
from taskplane.server.core.unit_report import Accepted
from taskplane.server.execution_units.leases import Leases
from taskplane.server.execution_units.listening_clock import TICK_SECONDS, ListeningClock
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.store.store import Store
from taskplane.server.tasks.maintenance import Maintenance
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager

Connect = Callable[..., Awaitable[ConnectedUnit]]
LEASE_SECONDS = 30.0
STALL = timedelta(seconds=60)


class Clocks:
    """Both clocks of the server, moved by the test."""

    def __init__(self) -> None:
        self.began = utc_now()
        self.passed = 0.0

    def utc_now(self) -> datetime:
        return self.began + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1_000.0 + self.passed


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    for name in ("listening_clock", "registry", "leases", "unit_entry"):
        module = f"taskplane.server.execution_units.{name}"
        monkeypatch.setattr(f"{module}.monotonic", clocks.monotonic)
        monkeypatch.setattr(f"{module}.utc_now", clocks.utc_now, raising=False)
    monkeypatch.setattr("taskplane.server.tasks.group_commit.utc_now", clocks.utc_now)
    monkeypatch.setattr("taskplane.server.tasks.maintenance.utc_now", clocks.utc_now)
    return clocks


@dataclass
class Scene:
    """A server with its clocks, and a unit that runs a task with a stall timeout."""

    clocks: Clocks
    states: TaskStateManager
    store: Store
    registry: Registry
    listening_clock: ListeningClock
    unit: ConnectedUnit | None = None
    task_id: int = 0

    def listens(self, seconds: float) -> None:
        """Let time pass while the server runs."""
        end = self.clocks.passed + seconds
        while self.clocks.passed < end:
            self.clocks.passed += TICK_SECONDS
            self.listening_clock.check_for_stall()

    async def stalled(self) -> bool:
        """Apply time limits. Return True if the first attempt was lost."""
        await Maintenance(self.states, self.store, None, self.listening_clock).expire()
        task = await self.store.get_task(self.task_id)
        assert task
        return (task.status, task.attempt) != (TaskStatus.RUNNING, 1)

    @property
    def known(self) -> UnitEntry:
        found = self.registry.find("unit-1")
        assert found
        return found


@pytest.fixture
async def scene(clocks: Clocks, connect: Connect, states: TaskStateManager, store: Store, registry: Registry) -> Scene:
    scene = Scene(clocks, states, store, registry, ListeningClock(registry, LEASE_SECONDS))
    scene.unit = await connect()
    (task,) = await states.create([a_spec(start=True, limits=Limits(stall_timeout=STALL))], ALICE)
    (start,) = await scene.unit.hears(1)
    await scene.unit.says(start, Accepted())
    scene.task_id = task.id
    return scene


async def test_a_task_that_shows_nothing_while_the_server_listens_has_stalled(scene: Scene) -> None:
    scene.listens(STALL.total_seconds() - 1)
    assert not await scene.stalled()
    scene.listens(2)
    assert await scene.stalled()


async def test_the_time_before_the_server_began_and_a_lease_after_it_are_no_silence(
    scene: Scene, progress_cache: ProgressCache
) -> None:
    progress_cache.progressed(scene.task_id, 1, Progress(0.5, "half", scene.clocks.utc_now()))
    await progress_cache.flush()
    scene.clocks.passed += 3600  # the server was down
    scene.listening_clock = ListeningClock(scene.registry, LEASE_SECONDS)
    assert not await scene.stalled()
    assert await scene.store.expired_tasks(scene.clocks.utc_now(), limit=9) == [], "the table knows that there is time"
    scene.listens(LEASE_SECONDS + STALL.total_seconds() - 2)
    assert not await scene.stalled()
    scene.listens(4)
    assert await scene.stalled()


async def test_the_time_in_which_the_server_stood_still_is_no_silence(scene: Scene) -> None:
    scene.listens(STALL.total_seconds() / 2)
    scene.clocks.passed += 3600
    assert not await scene.stalled(), "limits may be the first to be looked at after a standstill"
    scene.listens(STALL.total_seconds() / 2 + 1)
    assert await scene.stalled()


async def test_the_time_before_the_units_session_is_no_silence(scene: Scene) -> None:
    session = scene.known.session
    assert session
    scene.registry.detach_session(scene.known)
    scene.listens(3600)
    assert not await scene.stalled(), "its lease decides while it is away"
    scene.registry.attach_session(scene.known, session)
    assert not await scene.stalled()
    scene.listens(STALL.total_seconds() + 1)
    assert await scene.stalled()


@pytest.mark.parametrize("is_restart", [True, False])
async def test_a_cancel_whose_deadline_passed_unheard_waits_once_more_for_the_unit(
    scene: Scene, *, is_restart: bool
) -> None:
    await scene.states.change(scene.task_id, lambda task, now: do(Verb.CANCEL, task, now))
    scene.clocks.passed += 60
    if is_restart:
        scene.listening_clock = ListeningClock(scene.registry, LEASE_SECONDS)
    assert not await scene.stalled()
    scene.listens(29)
    assert not await scene.stalled()
    scene.listens(2)
    assert await scene.stalled()
    task = await scene.store.get_task(scene.task_id)
    assert task
    assert task.status is TaskStatus.CANCELLED


async def test_a_standstill_makes_leases_longer_before_they_are_judged(scene: Scene) -> None:
    leases = Leases(scene.states, scene.registry, LEASE_SECONDS, scene.listening_clock)
    scene.clocks.passed += 10 * LEASE_SECONDS
    await leases.check()
    assert scene.task_id in scene.known.running, "it was not heard for ten leases, but nothing was"
    scene.listens(LEASE_SECONDS + 2)
    await leases.check()
    assert scene.task_id not in scene.known.running
    assert scene.unit
    with pytest.raises(LeaseExpired):
        await scene.unit.next()
