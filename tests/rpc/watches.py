"""Events of a watch, read as far as a test needs."""

import asyncio
from collections.abc import AsyncIterator

from rpc.server import PATIENCE_SECONDS

from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

Events = AsyncIterator[pb.WatchTasksResponse]


async def snapshot(events: Events) -> tuple[list[task_pb2.Task], int]:
    """Return the snapshot, and the revision at its end."""
    tasks: list[task_pb2.Task] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in events:
            if event.WhichOneof("event") == "snapshot_complete":
                return tasks, event.revision
            assert event.revision == 0
            tasks.append(event.snapshot)
    raise AssertionError("a watch never ends by itself")


async def expect(events: Events, kind: str) -> pb.WatchTasksResponse:
    """Return the next event, which must be of the given kind."""
    event = await asyncio.wait_for(anext(events), PATIENCE_SECONDS)
    assert event.WhichOneof("event") == kind, event
    return event


async def transitions(events: Events, count: int) -> list[task_pb2.TaskTransition]:
    """Return the next transitions, skipping other events."""
    found = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in events:
            if event.WhichOneof("event") == "transition":
                assert event.revision == event.transition.transition.revision
                found.append(event.transition.transition)
            if len(found) == count:
                break
    return found
