"""A watch that resumes over the deletion of a task sends the deletion, or reports that the position is too old."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from rpc.refusals import Refusal, read_refusal, refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire, eventually, status_name, watching
from rpc.tasks import create, spec
from rpc.watches import Events, expect, snapshot

from taskplane.server.core.clock import utc_now
from taskplane.server.core.tuning import Tuning
from taskplane.server.services import watching as watching_service
from taskplane.server.store.deletions import Deletion
from taskplane.server.store.store import Store
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def cancel(wire: Wire, task_id: int) -> None:
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))


async def delete(wire: Wire, *task_ids: int) -> None:
    """Cancel and delete tasks."""
    for task_id in task_ids:
        await cancel(wire, task_id)
        await wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task_id))


def news(event: pb.WatchTasksResponse) -> tuple[str, int]:
    """Return the status of an event, or "deleted", and the task's id."""
    if event.HasField("deleted"):
        return "deleted", event.deleted.task_id
    change = event.transition.transition
    return status_name(change.to_status), change.task_id


async def told(events: Events, count: int) -> list[tuple[str, int]]:
    """Return the contents of the next events, whose positions increase."""
    found = [await asyncio.wait_for(anext(events), PATIENCE_SECONDS) for _ in range(count)]
    positions = [event.revision for event in found]
    assert positions == sorted(set(positions))
    return [news(event) for event in found]


async def refusal_from(wire: Wire, **request: Any) -> Refusal:
    """Return the error of a watch that cannot begin."""
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(**request))
    return await refusal_of(asyncio.wait_for(anext(aiter(call)), PATIENCE_SECONDS))


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_deletions_are_told_in_order_among_the_transitions(
    page: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_service, "_PAGE", page)
    gone, gone_too, there, there_too, last = [(await create(wire)).id for _ in range(5)]
    async with watching(wire) as events:
        _, position = await snapshot(events)
    await delete(wire, gone, gone_too)
    await cancel(wire, there)
    await cancel(wire, there_too)
    await delete(wire, last)
    new = (await create(wire)).id
    deleted, cancelled = [("deleted", gone), ("deleted", gone_too)], [("CANCELLED", there), ("CANCELLED", there_too)]
    missed = [*deleted, *cancelled, ("deleted", last)]
    async with watching(wire, after_revision=position) as events:
        assert await told(events, 6) == [*missed, ("PENDING", new)]
        await delete(wire, new)
        assert await told(events, 2) == [("CANCELLED", new), ("deleted", new)]
    async with watching(wire, after_revision=position) as events:
        assert await told(events, 6) == [*missed, ("deleted", new)]


async def test_a_deletion_is_replayed_as_it_was_told(wire: Wire) -> None:
    task = await create(wire)
    async with watching(wire) as events:
        _, position = await snapshot(events)
        await delete(wire, task.id)
        await expect(events, "transition")
        live = await expect(events, "deleted")
    async with watching(wire, after_revision=position) as events:
        assert await expect(events, "deleted") == live
    another = await create(wire)
    async with watching(wire, after_revision=live.revision) as events:
        assert await told(events, 1) == [("PENDING", another.id)]


async def test_deletions_in_bulk_are_told_too(wire: Wire) -> None:
    tasks = [(await create(wire)).id for _ in range(3)]
    for task_id in tasks:
        await cancel(wire, task_id)
    position = (await create(wire)).revision
    request = pb.BatchControlTasksRequest(verb=pb.BATCH_VERB_DELETE, task_ids=tasks)
    await wire.tasks.BatchControlTasks(request)
    async with watching(wire, after_revision=position) as events:
        assert await told(events, 3) == [("deleted", task_id) for task_id in tasks]


async def test_deletions_are_told_over_a_restart_of_the_server(server: ServerUnderTest, wire: Wire) -> None:
    before, between, after = [(await create(wire)).id for _ in range(3)]
    async with watching(wire) as events:
        _, position = await snapshot(events)
    await delete(wire, before)
    await server.stop()
    await server.start()
    await wire.channel.channel_ready()
    await delete(wire, between)
    async with watching(wire, after_revision=position) as events:
        assert await told(events, 2) == [("deleted", before), ("deleted", between)]
        await delete(wire, after)
        assert await told(events, 2) == [("CANCELLED", after), ("deleted", after)]


@pytest.mark.parametrize("by", ["task_ids", "task_types"])
async def test_a_watch_of_some_tasks_is_not_told_of_the_deletions_of_others(by: str, wire: Wire) -> None:
    other, mine, last = [await create(wire, task_type=name) for name in ("OTHER", "MINE", "MINE")]
    chosen: dict[str, Any] = {by: [mine.id, last.id] if by == "task_ids" else ["MINE"]}
    await delete(wire, other.id, mine.id)
    async with watching(wire, after_revision=last.revision, **chosen) as events:
        assert await told(events, 1) == [("deleted", mine.id)]
        await delete(wire, last.id)
        assert await told(events, 2) == [("CANCELLED", last.id), ("deleted", last.id)]


async def test_a_task_that_is_gone_can_be_asked_for_only_from_before_that(wire: Wire) -> None:
    gone, there = await create(wire), await create(wire)
    await delete(wire, gone.id)
    async with watching(wire, task_ids=[there.id, gone.id], after_revision=there.revision) as events:
        deleted = await expect(events, "deleted")
    for beginning in ({"after_revision": deleted.revision}, {}):
        refusal = await refusal_from(wire, task_ids=[there.id, gone.id], **beginning)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
        assert refusal.metadata["task_id"] == str(gone.id)
    refusal = await refusal_from(wire, task_ids=[gone.id, 4711], after_revision=there.revision)
    assert refusal.metadata["task_id"] == "4711"


async def test_no_deletion_is_missed_or_told_twice_under_load(wire: Wire) -> None:
    batch = pb.BatchCreateTasksRequest(tasks=[spec()] * 40)
    tasks = [task.id for task in (await wire.tasks.BatchCreateTasks(batch)).tasks]
    async with watching(wire) as events:
        _, position = await snapshot(events)
    deleted: list[int] = []
    async with asyncio.TaskGroup() as group:
        for task_id in tasks:
            group.create_task(delete(wire, task_id))
        while len(deleted) < len(tasks):
            async with watching(wire, after_revision=position) as events:
                event = await asyncio.wait_for(anext(events), PATIENCE_SECONDS)
            assert event.revision > position
            position = event.revision
            what, task_id = news(event)
            assert task_id not in deleted
            deleted += [task_id] if what == "deleted" else []
    assert sorted(deleted) == tasks


@asynccontextmanager
async def before_deletions_are_read(act: Callable[[Store], Awaitable[None]]) -> AsyncIterator[None]:
    """Act once, between a resuming watch's read of transitions and its read of deletions."""
    read = Store.deletions_since
    came: list[Store] = []

    async def act_and_read(store: Store, *args: Any, **kwargs: Any) -> list[Deletion]:
        if not came:
            came.append(store)
            await act(store)
        return await read(store, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "deletions_since", act_and_read)
        yield
    assert came


async def test_what_happens_while_the_past_is_read_is_told_once_and_in_order(wire: Wire) -> None:
    gone, there = await create(wire), await create(wire)
    await cancel(wire, gone.id)

    async def change(_: Store) -> None:
        await cancel(wire, there.id)
        await wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=gone.id))

    async with before_deletions_are_read(change), watching(wire, after_revision=there.revision) as events:
        assert await told(events, 2) == [("CANCELLED", there.id), ("deleted", gone.id)]
        await wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=there.id))
        assert await told(events, 1) == [("deleted", there.id)]


async def test_a_watch_does_not_go_on_over_a_deletion_that_is_forgotten_while_it_reads(wire: Wire) -> None:
    task = await create(wire)
    await delete(wire, task.id)
    async with before_deletions_are_read(lambda store: store.forget_deletions(before=utc_now())):
        refusal = await refusal_from(wire, after_revision=task.revision)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_TOO_OLD")


class TestForgotten:
    @pytest.fixture
    def tuning(self) -> Tuning:
        return Tuning(purge_seconds=0.02)

    async def test_a_watch_that_comes_too_late_is_told_so(self, wire: Wire, server: ServerUnderTest) -> None:
        task, last = await create(wire), await create(wire)
        await delete(wire, task.id)

        async def first_event() -> pb.WatchTasksResponse | str:
            call = wire.tasks.WatchTasks(pb.WatchTasksRequest(after_revision=last.revision))
            try:
                return await asyncio.wait_for(anext(aiter(call)), PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                return read_refusal(error).reason
            finally:
                call.cancel()

        deleted = await first_event()
        assert isinstance(deleted, pb.WatchTasksResponse)
        assert news(deleted) == ("deleted", task.id)
        await server.stop()
        server.tuning = replace(server.tuning, deletions_kept=timedelta(0))
        await server.start()
        await eventually(first_event, lambda found: found == "REVISION_TOO_OLD")
        await cancel(wire, last.id)
        async with watching(wire, after_revision=deleted.revision) as events:
            assert await told(events, 1) == [("CANCELLED", last.id)]
