"""The fair scheduler: watchers run a few at a time, after verbs, and miss no event."""

import asyncio
from contextlib import AbstractContextManager, ExitStack

import pytest
from support.builders import PATIENCE_SECONDS, a_task

from taskplane.server.tasks import fair_scheduler
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Subscriber, WatchHub


@pytest.fixture
def hub() -> WatchHub:
    return WatchHub()


def changes(revision: int, task_id: int = 1) -> list[CommittedEvent]:
    return [CommittedEvent(a_task(id=task_id, revision=revision))]


async def taken(subscriber: Subscriber, timeout_seconds: float) -> tuple[int, ...]:
    """Return the revisions that the subscriber may take within the time."""
    await subscriber.wait_for_events(timeout_seconds)
    return tuple(event.task.revision for event in subscriber.take()[0])


async def test_watchers_take_turns_and_let_others_run_in_between(
    hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_scheduler, "MESSAGES_AT_ONCE", 1)
    order: list[str] = []

    async def read(name: str, following: AbstractContextManager[Subscriber]) -> None:
        with following as subscriber:
            is_there.release()
            await subscriber.next_change(PATIENCE_SECONDS)
            order.append(name)

    is_there = asyncio.Semaphore(0)
    readers = [asyncio.create_task(read(f"watcher {number}", hub.watch([1]))) for number in range(5)]
    readers.append(asyncio.create_task(read("verb", hub.subscribe([1]))))
    for _ in readers:
        await is_there.acquire()
    hub.publish(changes(1))
    await asyncio.gather(*readers)
    assert sorted(order) == ["verb", *(f"watcher {number}" for number in range(5))]
    assert "verb" in order[:2]


async def test_many_watchers_wait_for_a_verb_and_a_few_do_not(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_scheduler, "MESSAGES_AT_ONCE", 1)
    monkeypatch.setattr(fair_scheduler, "REST_WITH_VERBS_SECONDS", 3600.0)
    with ExitStack() as stack:
        watchers = [stack.enter_context(hub.watch([each])) for each in (1, 1, 2)]
        waiting = [asyncio.create_task(subscriber.wait_for_events(PATIENCE_SECONDS)) for subscriber in watchers]
        stack.enter_context(hub.subscribe([3]))
        await asyncio.sleep(0)  # all have begun to wait
        hub.publish(changes(1, task_id=2))
        await asyncio.wait_for(waiting.pop(), PATIENCE_SECONDS)
        hub.publish(changes(2))
        _, resting = await asyncio.wait(waiting, timeout=0.03)
        assert len(resting) == 2
        for each in resting:
            each.cancel()


async def test_events_before_the_turn_are_complete_and_in_order(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_scheduler, "MESSAGES_AT_ONCE", 1)
    with ExitStack() as stack:
        watchers = [stack.enter_context(hub.watch([1])) for _ in range(20)]
        for revision in range(1, 6):
            hub.publish(changes(revision))
            await asyncio.sleep(0)
        for subscriber in watchers:
            heard_revisions: list[int] = []
            while len(heard_revisions) < 5:
                heard_revisions += await taken(subscriber, PATIENCE_SECONDS)
            assert heard_revisions == [1, 2, 3, 4, 5]


async def test_a_long_waiting_watcher_no_longer_waits_for_verbs(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_scheduler, "MESSAGES_AT_ONCE", 1)
    monkeypatch.setattr(fair_scheduler, "MAX_REST_WAIT_SECONDS", 1e-9)
    monkeypatch.setattr(fair_scheduler, "REST_WITH_VERBS_SECONDS", 3600.0)
    with ExitStack() as stack:
        watchers = [stack.enter_context(hub.watch([1])) for _ in range(20)]
        stack.enter_context(hub.subscribe([1]))
        hub.publish(changes(1))
        assert [await taken(subscriber, PATIENCE_SECONDS) for subscriber in watchers] == [(1,)] * 20
