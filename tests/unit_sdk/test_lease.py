"""Renewals of the lease, and the behaviour of the unit without a lease."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskplane.unit import SyncTaskContext, TaskDropped, TaskReleased, Unit, lease
from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.lease import Lease, LeaseTracker
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, DropReason, Verdict, VerdictAction

TIMEOUT_SECONDS = 20.0
# Seconds. Short enough for a test, long enough for a loaded machine to send three heartbeats.
HEARTBEAT_SECONDS = 0.1
LEASE_SECONDS = 0.5


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "now", clock)
    return clock


def is_valid(a_lease: Lease) -> bool:
    return a_lease.wait_for_change(until=lambda: True)


def test_a_lease_counts_from_when_the_message_was_sent_that_renewed_it(clock: Clock) -> None:
    unit_lease = Lease()
    tracker = LeaseTracker(unit_lease)
    clock.time += 5
    tracker.welcomed(30.0)  # answers a Hello of 5 s ago
    clock.time += 18.9
    assert is_valid(unit_lease)
    clock.time += 0.2  # 24.1 s after the Hello: the lease minus its margin is over
    assert not is_valid(unit_lease)


def test_a_heartbeat_renews_the_lease_only_when_it_is_the_one_that_is_echoed(clock: Clock) -> None:
    unit_lease = Lease()
    tracker = LeaseTracker(unit_lease)
    tracker.welcomed(30.0)
    first = tracker.heartbeat_sent()
    clock.time += 20
    second = tracker.heartbeat_sent()
    tracker.acknowledged(0, first)
    clock.time += 5
    assert not is_valid(unit_lease)
    tracker.acknowledged(0, second)
    assert is_valid(unit_lease)


def test_reports_renew_the_lease_when_the_last_of_them_is_acknowledged(clock: Clock) -> None:
    unit_lease = Lease()
    tracker = LeaseTracker(unit_lease)
    tracker.welcomed(30.0)
    clock.time += 20
    tracker.reports_sent(7)
    clock.time += 5
    tracker.acknowledged(6, 0)
    assert not is_valid(unit_lease)
    tracker.acknowledged(7, 0)
    assert is_valid(unit_lease)


def test_a_lease_that_the_server_has_ended_begins_anew_with_the_next_welcome(clock: Clock) -> None:
    unit_lease = Lease()
    unit_lease.end()
    assert is_valid(unit_lease), "there was none yet"
    LeaseTracker(unit_lease).welcomed(30.0)
    unit_lease.end()
    assert not is_valid(unit_lease)
    assert not unit_lease.is_fresh()
    LeaseTracker(unit_lease).welcomed(30.0)
    assert is_valid(unit_lease)


def test_a_lease_is_extended_only_while_it_is_not_over(clock: Clock) -> None:
    unit_lease = Lease()
    unit_lease.renew(clock.time, 30.0)
    clock.time += 23
    assert unit_lease.extend(clock.time)
    clock.time += 23
    assert is_valid(unit_lease)
    clock.time += 2
    assert not unit_lease.extend(clock.time)
    assert not is_valid(unit_lease)
    unit_lease.renew(clock.time)
    assert is_valid(unit_lease)


def test_an_extension_counts_from_when_the_message_was_sent(clock: Clock) -> None:
    unit_lease = Lease()
    unit_lease.renew(clock.time, 30.0)
    sent_at = clock.time + 5
    clock.time += 20
    assert unit_lease.extend(sent_at)
    clock.time += 10
    assert not is_valid(unit_lease)


def test_a_lease_that_was_not_renewed_lately_is_not_fresh_long_before_it_ends(clock: Clock) -> None:
    unit_lease = Lease()
    assert unit_lease.is_fresh()
    LeaseTracker(unit_lease).welcomed(30.0)
    clock.time += 4.9
    assert unit_lease.is_fresh()
    clock.time += 0.2
    assert not unit_lease.is_fresh()
    assert is_valid(unit_lease)


class Worker:
    """Works with many safe points, and signals the start and the end."""

    def __init__(self, unit: Unit) -> None:
        self.is_at_work = threading.Event()
        self.may_end = threading.Event()
        self.ended_by: list[type[BaseException]] = []
        self.has_ended = threading.Event()
        unit.task("WORK")(self.work)

    def work(self, task: SyncTaskContext, config: dict[str, Any]) -> dict[str, Any]:
        step = 0
        try:
            while not self.may_end.wait(0.002):
                self.is_at_work.set()
                task.safe_point(checkpoint={"step": step})
                step += 1
        except BaseException as error:
            self.ended_by.append(type(error))
            raise
        finally:
            self.has_ended.set()
        return {"attempt": task.attempt}


def held_session(server: ScriptedServer) -> ScriptedSession:
    """Return the first session with the attempt held."""
    session = server.session()
    while session.hello.inventory[0].state != AttemptState.ATTEMPT_STATE_PAUSED:
        session.close()
        session = server.session()
    return session


@pytest.fixture
def held(
    server: ScriptedServer, unit: Unit, run: Callable[[Unit], object], caplog: pytest.LogCaptureFixture
) -> Iterator[tuple[ScriptedSession, Worker]]:
    """Return the next session of a unit with attempt 1 of task 1 held by the fence, and the worker."""
    worker = Worker(unit)
    run(unit)
    session = server.session()
    session.welcome(heartbeat_seconds=HEARTBEAT_SECONDS, lease_seconds=LEASE_SECONDS)
    session.start(1, 1, "WORK")
    assert worker.is_at_work.wait(TIMEOUT_SECONDS)
    session.answers_heartbeats = False
    yield held_session(server), worker
    worker.may_end.set()


Held = tuple[ScriptedSession, Worker]


def verdict(action: VerdictAction.ValueType, reason: DropReason.ValueType = DropReason.DROP_REASON_UNSPECIFIED) -> Any:
    return [Verdict(task_id=1, attempt=1, action=action, drop_reason=reason)]


def test_what_the_fence_holds_goes_on_when_the_server_says_keep(held: Held) -> None:
    session, worker = held
    worker.is_at_work.clear()
    session.welcome(verdicts=verdict(VerdictAction.VERDICT_ACTION_KEEP))
    assert worker.is_at_work.wait(TIMEOUT_SECONDS)
    worker.may_end.set()
    assert session.expect("succeeded").attempt == 1
    assert "paused" not in session.kinds(1)


def test_what_was_given_away_meanwhile_is_dropped_and_does_nothing_more(held: Held) -> None:
    session, worker = held
    worker.is_at_work.clear()
    superseded = DropReason.DROP_REASON_SUPERSEDED
    session.welcome(verdicts=verdict(VerdictAction.VERDICT_ACTION_DROP, superseded))
    assert worker.has_ended.wait(TIMEOUT_SECONDS)
    assert worker.ended_by == [TaskDropped]
    assert not worker.is_at_work.is_set()


def test_what_is_to_pause_stays_at_rest_and_says_so_with_its_checkpoint(held: Held) -> None:
    session, worker = held
    worker.is_at_work.clear()
    session.welcome(verdicts=verdict(VerdictAction.VERDICT_ACTION_PAUSE))
    report = session.expect("paused")
    assert report.attempt == 1
    assert "step" in report.paused.checkpoint.data.fields
    assert not worker.is_at_work.is_set()


def test_what_the_fence_holds_is_given_back_when_the_unit_leaves(held: Held, unit: Unit) -> None:
    session, worker = held
    session.welcome(verdicts=[])
    unit.stop()
    assert session.expect("released").attempt == 1
    assert worker.ended_by == [TaskReleased]


def test_a_start_that_is_read_after_a_long_sleep_is_refused(
    server: ScriptedServer, unit: Unit, run: Callable[[Unit], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(unit)
    run(unit)
    session = server.session()
    session.welcome()
    session.expect_heartbeats(0)
    monkeypatch.setattr(lease, "ACCEPT_SECONDS", 0.0)
    refused = session.expect("rejected", command_id=session.start(1, 1, "WORK"))
    assert "out of touch" in refused.rejected.message
    assert not worker.is_at_work.is_set()


def test_a_lease_that_was_found_over_is_told_as_lost_and_then_as_won_back(clock: Clock) -> None:
    unit_lease = Lease()
    tracker = LeaseTracker(unit_lease)
    tracker.welcomed(30.0)
    assert is_valid(unit_lease)
    heartbeat = tracker.heartbeat_sent()
    clock.time += 25
    assert unit_lease.is_over()
    clock.time -= 20  # renewed before any waiter ran
    tracker.acknowledged(0, heartbeat)
    assert unit_lease.is_over()
    assert not is_valid(unit_lease)
    assert is_valid(unit_lease)
    assert not unit_lease.is_over()


def test_a_safe_point_holds_without_a_lease_though_the_fence_is_late(
    server: ScriptedServer, unit: Unit, run: Callable[[Unit], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hold as after SIGSTOP for longer than the lease: all threads continue at once, perhaps the executor first."""
    monkeypatch.setattr(AttemptRegistry, "fence", lambda registry: None)
    worker = Worker(unit)
    run(unit)
    session = server.session()
    session.welcome(heartbeat_seconds=HEARTBEAT_SECONDS, lease_seconds=LEASE_SECONDS)
    session.start(1, 1, "WORK")
    assert worker.is_at_work.wait(TIMEOUT_SECONDS)
    session.answers_heartbeats = False
    later = held_session(server)
    worker.is_at_work.clear()
    later.welcome(verdicts=verdict(VerdictAction.VERDICT_ACTION_KEEP))
    assert worker.is_at_work.wait(TIMEOUT_SECONDS)
    worker.may_end.set()
    assert later.expect("succeeded").attempt == 1
