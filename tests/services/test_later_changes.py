"""The changes that a waiting verb receives."""

from support.builders import a_task

from taskplane.server.core.clock import monotonic
from taskplane.server.services.task_service import _later_changes
from taskplane.server.tasks.unit_of_work import CommittedEvent
from taskplane.server.tasks.watch import WatchHub


async def test_what_is_there_when_the_time_is_over_counts_all_the_same() -> None:
    hub, task = WatchHub(), a_task(id=1, revision=2)
    with hub.subscribe([1]) as subscriber:
        hub.publish([CommittedEvent(a_task(id=1, revision=revision)) for revision in (1, 2, 3, 4)])
        later = [event.task.revision async for event in _later_changes(subscriber, task, monotonic() - 1.0)]
    assert later == [3, 4]
