"""Subscribers: each receives all matching events in order, and none can block or exhaust the server."""

import asyncio
from collections import deque
from collections.abc import Sequence

import pytest
from support.builders import NOW, PATIENCE_SECONDS, TASK_TYPE, a_task

from taskplane.server.core.errors import ServerStopping, SlowReader
from taskplane.server.core.task import Progress
from taskplane.server.tasks import watch
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import Progressed, Subscriber, WatchHub

AT_ONCE = 0.0


@pytest.fixture
def hub() -> WatchHub:
    return WatchHub()


def changes(*revisions: int, task_id: int = 1) -> list[CommittedEvent]:
    return [CommittedEvent(a_task(id=task_id, revision=revision)) for revision in revisions]


def progress(fraction: float, task_id: int = 1) -> Progressed:
    return Progressed(task_id, TASK_TYPE, 1, Progress(fraction, "", NOW))


def revisions(taken: Sequence[CommittedEvent]) -> list[int]:
    return [event.task.revision for event in taken]


async def heard(subscriber: Subscriber) -> list[int]:
    """Return the revisions in the subscriber's queue, one by one, without waiting."""
    found = []
    while event := await subscriber.next_change(AT_ONCE):
        found.append(event.task.revision)
    return found


async def test_changes_come_whole_and_in_order(hub: WatchHub) -> None:
    with hub.subscribe([1]) as one_by_one, hub.subscribe([1]) as all_at_once:
        hub.publish(changes(1, 2, 3))
        hub.publish(changes(4))
        assert await heard(one_by_one) == [1, 2, 3, 4]
        assert revisions(all_at_once.take()[0]) == [1, 2, 3, 4]
        assert all_at_once.take() == (deque(), [])


async def test_a_subscriber_receives_events_of_its_tasks_and_without_ids_of_all(hub: WatchHub) -> None:
    with hub.subscribe([1, 3]) as two, hub.subscribe([]) as everything:
        for task_id in (1, 2, 3):
            hub.publish(changes(task_id * 10, task_id=task_id))
        assert await heard(two) == [10, 30]
        assert await heard(everything) == [10, 20, 30]


async def test_a_subscriber_receives_matching_events(hub: WatchHub) -> None:
    with hub.subscribe([1], lambda event: isinstance(event, CommittedEvent) and event.task.revision > 1) as subscriber:
        hub.publish(changes(1, 2))
        hub.publish_progress(progress(0.5))
        assert await heard(subscriber) == [2]
        assert subscriber.take() == (deque(), [])


async def test_every_waiting_subscriber_is_woken(hub: WatchHub) -> None:
    with hub.subscribe([1]) as first, hub.subscribe([1]) as second:
        waiting = asyncio.create_task(first.next_change(PATIENCE_SECONDS))
        arriving = asyncio.create_task(second.wait_for_events(PATIENCE_SECONDS))
        await asyncio.sleep(0)  # both have begun to wait
        hub.publish(changes(1))
        event = await waiting
        assert event
        assert event.task.revision == 1
        await arriving
        assert revisions(second.take()[0]) == [1]


async def test_of_progress_the_latest_value_of_each_task_is_kept(hub: WatchHub) -> None:
    with hub.subscribe([]) as subscriber:
        for fraction in (0.1, 0.2, 0.3):
            hub.publish_progress(progress(fraction, task_id=1))
            hub.publish_progress(progress(fraction / 2, task_id=2))
        await subscriber.wait_for_events(PATIENCE_SECONDS)
        assert subscriber.take() == (deque(), [progress(0.3, task_id=1), progress(0.15, task_id=2)])


async def test_a_slow_reader_is_cut_and_what_it_has_is_dropped(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_QUEUED_CHANGES", 3)
    with hub.subscribe([1]) as slow, hub.subscribe([1]) as quick:
        for revision in range(1, 5):
            hub.publish(changes(revision))
            assert await heard(quick) == [revision]
        with pytest.raises(SlowReader):
            await slow.next_change(PATIENCE_SECONDS)
        with pytest.raises(SlowReader):
            await slow.wait_for_events(PATIENCE_SECONDS)
        hub.publish(changes(5))
        assert slow.take() == (deque(), []), "nothing gathers for it any more"
        assert await heard(quick) == [5]


async def test_a_full_queue_is_still_complete(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_QUEUED_CHANGES", 3)
    with hub.subscribe([1]) as subscriber:
        hub.publish(changes(1, 2, 3))
        hub.publish_progress(progress(0.5))
        assert await heard(subscriber) == [1, 2, 3]


async def test_progress_alone_never_makes_a_reader_slow(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_QUEUED_CHANGES", 3)
    with hub.subscribe([1]) as subscriber:
        for number in range(100):
            hub.publish_progress(progress(number / 100))
        assert subscriber.take() == (deque(), [progress(0.99)])


async def test_thousands_subscribe_to_one_task_and_each_receives_its_events(hub: WatchHub) -> None:
    contexts = [hub.subscribe([1]) for _ in range(3000)]
    subscribers = [context.__enter__() for context in contexts]
    hub.publish(changes(1, 2))
    hub.publish(changes(3, task_id=2))
    for subscriber in subscribers:
        assert revisions(subscriber.take()[0]) == [1, 2]
    for context in contexts:
        context.__exit__(None, None, None)


async def test_a_former_subscriber_receives_nothing_and_leaves_nothing_behind(hub: WatchHub) -> None:
    with hub.subscribe([1, 2]) as gone, hub.subscribe([1]):
        pass
    with hub.subscribe([1]) as stays:
        hub.publish(changes(1))
        hub.publish_progress(progress(0.5, task_id=2))
        assert await heard(stays) == [1]
    assert gone.take() == (deque(), [])


async def test_the_hub_knows_the_last_published_revision(hub: WatchHub) -> None:
    hub.publish(changes(4, 7))
    hub.publish_progress(progress(0.5))
    assert hub.revision == 7


async def test_a_stopping_server_cuts_all(hub: WatchHub) -> None:
    with hub.subscribe([1]) as one, hub.subscribe([]) as everything:
        hub.publish(changes(1))
        hub.stop()
        for subscriber in (one, everything):
            with pytest.raises(ServerStopping):
                await subscriber.next_change(PATIENCE_SECONDS)
    with pytest.raises(ServerStopping), hub.subscribe([1]):
        pass


async def test_a_watcher_is_cut_before_its_turn(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_QUEUED_CHANGES", 3)
    with hub.watch([1]) as slow:
        for revision in range(1, 5):
            hub.publish(changes(revision))
        with pytest.raises(SlowReader):
            await slow.wait_for_events(PATIENCE_SECONDS)


def large(revision: int) -> CommittedEvent:
    return CommittedEvent(a_task(id=revision, revision=revision, config={"text": "x" * 1_000_000}))


async def test_a_watch_is_cut_by_the_bytes_that_it_leaves_unread(hub: WatchHub) -> None:
    with hub.watch([]) as watching, hub.subscribe([]) as verb:
        for revision in range(1, 20):
            hub.publish([large(revision)])
        with pytest.raises(SlowReader):
            await watching.wait_for_events(PATIENCE_SECONDS)
        assert len(await heard(verb)) == 19, "a verb's own wait is not a watch"
    assert hub.memory.bytes == 0


async def test_taken_events_count_until_the_next_wait(hub: WatchHub) -> None:
    with hub.watch([]) as watching:
        for revision in range(1, 6):
            hub.publish([large(revision)])
        await watching.wait_for_events(PATIENCE_SECONDS)
        changes, _ = watching.take()
        assert len(changes) == 5
        for revision in range(6, 12):
            hub.publish([large(revision)])
        with pytest.raises(SlowReader):
            await watching.wait_for_events(PATIENCE_SECONDS)
    assert hub.memory.bytes == 0


async def test_one_change_is_delivered_however_large(hub: WatchHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_BYTES", 1000)
    with hub.watch([]) as watching:
        hub.publish([large(1)])
        await watching.wait_for_events(PATIENCE_SECONDS)
        assert revisions(watching.take()[0]) == [1]


async def test_what_many_watches_hold_counts_once(hub: WatchHub) -> None:
    contexts = [hub.watch([]) for _ in range(1000)]
    for context in contexts:
        context.__enter__()
    hub.publish([large(1)])
    assert 1_000_000 < hub.memory.bytes < 1_100_000
    for context in contexts:
        context.__exit__(None, None, None)
    assert hub.memory.bytes == 0


async def test_of_all_watches_together_those_that_hold_the_most_are_cut(
    hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ALL_WATCHES_BYTES", 3_000_000)
    with hub.watch([]) as slow, hub.watch([4]) as quick:
        for revision in range(1, 5):
            hub.publish([large(revision)])
        with pytest.raises(SlowReader):
            await slow.wait_for_events(PATIENCE_SECONDS)
        await quick.wait_for_events(PATIENCE_SECONDS)
        assert revisions(quick.take()[0]) == [4]
