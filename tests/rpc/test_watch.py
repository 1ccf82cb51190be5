"""A watch sends the state of tasks, then every transition in order and without a gap, over any break."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
from rpc.conftest import Connect
from rpc.obedient_unit import obeying
from rpc.raw_unit import RawUnit, checkpoint
from rpc.refusals import refusal_of
from rpc.server import PATIENCE_SECONDS, ServerUnderTest, Wire, eventually, status_name, watching
from rpc.tasks import create, running, spec
from rpc.watches import expect, snapshot, transitions

from taskplane.server.core.errors import TaskplaneError
from taskplane.server.core.tuning import Tuning
from taskplane.server.rpc import messages
from taskplane.server.rpc.messages import _serialised
from taskplane.server.services.watch_events import Changed, WatchEvent
from taskplane.server.tasks import watch as watch_hub
from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb


@pytest.fixture
def served_url(database_url: str) -> str:
    return database_url


async def histories(wire: Wire, task_ids: list[int]) -> list[task_pb2.TaskTransition]:
    """Return the histories of all these tasks, by revision."""
    found = [transition for task_id in task_ids for transition in await wire.history(task_id)]
    return sorted(found, key=lambda transition: transition.revision)


async def test_first_how_tasks_are_then_what_happens(wire: Wire, unit: RawUnit) -> None:
    tasks = [await create(wire) for _ in range(3)]
    async with watching(wire) as events:
        shown, revision = await snapshot(events)
        assert shown == tasks
        assert revision >= tasks[-1].revision
        await wire.tasks.StartTask(pb.StartTaskRequest(task_id=tasks[1].id, no_wait=True))
        queued = await expect(events, "changed")
        assert (queued.changed.id, queued.changed.HasField("queued_at")) == (tasks[1].id, True)
        begun = await expect(events, "transition")
        assert begun.revision == begun.transition.task.revision == begun.transition.transition.revision
        assert status_name(begun.transition.task.status) == "RUNNING"
        assert revision < queued.revision < begun.revision


async def test_what_is_new_but_no_change_of_status_is_told_too(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    async with watching(wire, task_ids=[start.task_id]) as events:
        await snapshot(events)
        await unit.report(start, checkpoint=checkpoint(1, row=1))
        stored = (await expect(events, "changed")).changed
        assert (stored.checkpoint.number, stored.checkpoint.HasField("data")) == (1, False)
        await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=start.task_id, no_wait=True))
        pausing = (await expect(events, "changed")).changed
        assert pausing.pending_command.verb == task_pb2.COMMAND_VERB_PAUSE
        pause = await unit.expect("pause")
        await unit.reject(pause, unit_pb.REJECT_REASON_OTHER)
        assert not (await expect(events, "changed")).changed.HasField("pending_command")


async def storm(wire: Wire, task_id: int) -> None:
    """Six changes of status: start, pause, resume, pause, cancel, restart."""
    await wire.tasks.StartTask(pb.StartTaskRequest(task_id=task_id))
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    await wire.tasks.ResumeTask(pb.ResumeTaskRequest(task_id=task_id))
    await wire.tasks.PauseTask(pb.PauseTaskRequest(task_id=task_id))
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))
    await wire.tasks.RestartTask(pb.RestartTaskRequest(task_id=task_id, no_wait=True))


async def test_no_transition_is_missed_or_told_twice_under_load(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=50)
    tasks = [(await create(wire)).id for _ in range(20)]
    async with watching(wire) as events, obeying(unit), asyncio.TaskGroup() as group:
        for task_id in tasks:
            group.create_task(storm(wire, task_id))
        shown, revision = await snapshot(events)
        assert [task.id for task in shown] == tasks
        # Creation and six changes for each, and the start after the restart.
        await wire_is_quiet(wire, tasks)
        expected = [each for each in await histories(wire, tasks) if each.revision > revision]
        seen_in_snapshot = {task.id: task.revision for task in shown}
        expected = [each for each in expected if each.revision > seen_in_snapshot[each.task_id]]
        assert await transitions(events, len(expected)) == expected


async def wire_is_quiet(wire: Wire, tasks: list[int]) -> None:
    """Wait until the storm over these tasks is over: each runs its last attempt."""
    for task_id in tasks:
        await wire.task_when(task_id, lambda task: task.attempt == 3 and status_name(task.status) == "RUNNING")


async def test_a_watch_goes_on_where_a_broken_one_ended(wire: Wire, connect: Connect) -> None:
    unit = await connect(capacity=20)
    tasks = [(await create(wire)).id for _ in range(5)]
    seen: list[task_pb2.TaskTransition] = []
    async with watching(wire) as events:
        _, position = await snapshot(events)
    async with obeying(unit), asyncio.TaskGroup() as group:
        for task_id in tasks:
            group.create_task(storm(wire, task_id))
        for _ in range(6):
            async with watching(wire, after_revision=position) as events:
                seen += await transitions(events, 5)
            position = seen[-1].revision
    await wire_is_quiet(wire, tasks)
    expected = [
        each for each in await histories(wire, tasks) if status_name(each.to_status) != "PENDING" or each.attempt
    ]
    async with watching(wire, after_revision=position) as events:
        seen += await transitions(events, len(expected) - len(seen))
    assert seen == expected


async def test_a_watch_goes_on_over_a_restart_of_the_server(server: ServerUnderTest, wire: Wire) -> None:
    tasks = [(await create(wire)).id for _ in range(3)]
    async with watching(wire) as events:
        _, position = await snapshot(events)
        await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=tasks[0]))
        (first,) = await transitions(events, 1)
        await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=tasks[1]))
        await server.stop()
        # Changes in progress at the stop of the server arrive now or later.
        refusal = await refusal_of(transitions(events, 2))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    await server.start()
    await wire.channel.channel_ready()
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=tasks[2]))
    async with watching(wire, after_revision=first.revision) as events:
        assert [each.task_id for each in await transitions(events, 2)] == tasks[1:]
    async with watching(wire, after_revision=position) as events:
        assert [each.task_id for each in await transitions(events, 3)] == tasks


async def test_a_watch_from_a_revision_that_is_not_reached_is_refused(wire: Wire) -> None:
    task = await create(wire)
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(after_revision=task.revision + 1000))
    refusal = await refusal_of(anext(aiter(call)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_TOO_OLD")


async def test_the_whole_history_can_be_watched_from_the_beginning(wire: Wire) -> None:
    request = pb.BatchCreateTasksRequest(tasks=[spec()] * 1000)
    created = (await wire.tasks.BatchCreateTasks(request)).tasks
    async with watching(wire, after_revision=0) as events:
        told = await transitions(events, 1000)
    assert [each.task_id for each in told] == [task.id for task in created]


async def test_a_watch_of_some_tasks_tells_of_no_others(wire: Wire) -> None:
    mine, other = await create(wire), await create(wire)
    async with watching(wire, task_ids=[mine.id]) as events:
        assert (await snapshot(events))[0] == [mine]
        for task in (other, mine):
            await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
        assert (await expect(events, "transition")).transition.task.id == mine.id
    async with watching(wire, task_ids=[mine.id], after_revision=0) as events:
        assert {each.task_id for each in await transitions(events, 2)} == {mine.id}


async def test_a_watch_of_some_types_tells_of_no_others(wire: Wire) -> None:
    other, mine = await create(wire, task_type="OTHER"), await create(wire, task_type="MINE")
    async with watching(wire, task_types=["MINE"]) as events:
        assert (await snapshot(events))[0] == [mine]
        for task in (other, mine):
            await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
        assert (await expect(events, "transition")).transition.task.id == mine.id
        new = await create(wire, task_type="MINE")
        assert (await expect(events, "transition")).transition.task == new
    async with watching(wire, task_types=["MINE"], after_revision=0) as events:
        assert [each.task_id for each in await transitions(events, 3)] == [mine.id, mine.id, new.id]


async def test_a_deleted_task_is_told(wire: Wire) -> None:
    task = await create(wire)
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
    async with watching(wire, task_ids=[task.id]) as events:
        await snapshot(events)
        await wire.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=task.id))
        assert (await expect(events, "deleted")).deleted.task_id == task.id


async def test_progress_is_told_to_those_who_ask(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    async with watching(wire) as deaf, watching(wire, include_progress=True) as events:
        await snapshot(deaf)
        await snapshot(events)
        await unit.report(start, progress=unit_pb.ProgressReport(fraction=0.25, message="a quarter"))
        told = (await expect(events, "progress")).progress
        assert (told.task_id, told.attempt) == (start.task_id, start.attempt)
        assert (told.progress.fraction, told.progress.message) == (0.25, "a quarter")
        await unit.report(start, succeeded=unit_pb.SucceededReport())
        await expect(deaf, "transition")


async def test_progress_comes_no_more_often_than_asked_and_its_last_value_comes(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    rate, reports = 5, 200
    async with watching(wire, include_progress=True, max_progress_per_second=rate) as events:
        await snapshot(events)
        began = time.monotonic()
        for number in range(1, reports + 1):
            await unit.report(start, progress=unit_pb.ProgressReport(fraction=number / reports))
        fractions = [0.0]
        while fractions[-1] < 1.0:
            fractions.append((await expect(events, "progress")).progress.progress.fraction)
        seconds = time.monotonic() - began
    assert fractions == sorted(set(fractions))
    assert len(fractions) - 1 <= 1 + seconds * rate  # one at once, then one for each full interval


@pytest.mark.parametrize("tuning", [Tuning(keep_alive_seconds=0.01)])
async def test_a_quiet_watch_shows_that_it_is_alive(wire: Wire) -> None:
    async with watching(wire, task_types=["NONE"]) as events:
        await snapshot(events)
        task = await create(wire)
        alive = await expect(events, "keep_alive")
        while alive.revision < task.revision:  # changes outside this watch move its position too
            alive = await expect(events, "keep_alive")


async def test_what_many_are_told_is_serialised_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await create(wire)
    serialised: list[WatchEvent] = []

    def serialise(event: WatchEvent) -> list[bytes]:
        serialised.append(event)
        return _serialised(event)

    monkeypatch.setattr(messages, "_serialised", serialise)
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watching(wire, task_ids=[task.id])) for _ in range(50)]
        for events in watches:
            await snapshot(events)
        await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=task.id))
        told = [await expect(events, "transition") for events in watches]
    assert told == [told[0]] * 50
    assert len([each for each in serialised if isinstance(each.event, Changed)]) == 1


async def test_a_watch_ends_at_its_callers_deadline(wire: Wire) -> None:
    await create(wire)
    call = wire.tasks.WatchTasks(pb.WatchTasksRequest(), timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await transitions(aiter(call), 1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture
async def narrow(server: ServerUnderTest) -> AsyncIterator[Wire]:
    """Return a client whose side of the connection buffers little unread data."""
    wire = Wire(server.address, options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)])
    yield wire
    await wire.channel.close()


async def test_a_slow_reader_is_cut_and_goes_on_without_a_gap(
    wire: Wire, narrow: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_hub, "MAX_QUEUED_CHANGES", 200)
    labels = {str(number): "x" * 255 for number in range(32)}
    batch = pb.BatchCreateTasksRequest(tasks=[spec(labels=labels)] * 100)
    created: list[int] = []
    told: list[task_pb2.TaskTransition] = []
    async with watching(narrow) as events:
        _, position = await snapshot(events)

        async def read_on() -> None:
            while True:
                told.extend(await transitions(events, 1))

        for _ in range(10):
            created += [task.id for task in (await wire.tasks.BatchCreateTasks(batch)).tasks]
        refusal = await refusal_of(read_on())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")
    assert len(told) < len(created)
    position = told[-1].revision if told else position
    async with watching(wire, after_revision=position) as events:
        told += await transitions(events, len(created) - len(told))
    assert [each.task_id for each in told] == created


async def test_a_watch_may_begin_without_a_snapshot(wire: Wire) -> None:
    await create(wire)
    async with watching(wire, no_snapshot=True) as events:
        begin = await expect(events, "snapshot_complete")
        task = await create(wire)
        created = await expect(events, "transition")
        assert created.transition.task.id == task.id
        assert begin.revision < created.revision


async def test_a_watch_of_statuses_tells_who_comes_and_who_goes(wire: Wire, unit: RawUnit) -> None:
    (waits, other) = [await create(wire) for _ in range(2)]
    await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=other.id))
    async with watching(wire, statuses=[task_pb2.TASK_STATUS_PENDING, task_pb2.TASK_STATUS_FAILED]) as events:
        shown, position = await snapshot(events)
        assert [task.id for task in shown] == [waits.id]
        start = await running(wire, unit)
        await unit.report(start, succeeded=unit_pb.SucceededReport())
        await unit.all_acknowledged()
        await wire.tasks.CancelTask(pb.CancelTaskRequest(task_id=waits.id))
        told = await transitions(events, 3)
    found = [(each.task_id, status_name(each.to_status)) for each in told]
    # A create that finds a slot makes two transitions, one out of PENDING. SUCCESS is none of these statuses.
    assert found == [(start.task_id, "PENDING"), (start.task_id, "RUNNING"), (waits.id, "CANCELLED")]
    async with watching(wire, statuses=[task_pb2.TASK_STATUS_PENDING], after_revision=position) as events:
        assert [(each.task_id, status_name(each.to_status)) for each in await transitions(events, 3)] == found


async def test_of_statuses_only_those_that_are(wire: Wire) -> None:
    for statuses in ([0], [97], [1] * 7):
        call = wire.tasks.WatchTasks(pb.WatchTasksRequest(statuses=statuses))  # type: ignore[arg-type]  # not a status
        assert (await refusal_of(anext(aiter(call)))).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_more_watches_than_are_served_are_refused_until_one_ends(
    wire: Wire, server: ServerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server._server
    monkeypatch.setattr(server._server._watches, "_max_watches", 2)
    async with watching(wire) as one:
        await snapshot(one)
        async with watching(wire) as two:
            await snapshot(two)
            refusal = await refusal_of(anext(aiter(wire.tasks.WatchTasks(pb.WatchTasksRequest()))))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES")

        async def look() -> int:
            return server._server._watches._watches if server._server else 0

        await eventually(look, lambda watches: watches == 1)
        async with watching(wire) as again:
            await snapshot(again)


async def test_a_watch_that_is_not_read_is_cut(wire: Wire, narrow: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskplane.server.rpc.task_service.WRITE_SECONDS", 0.2)
    labels = {str(number): "x" * 255 for number in range(32)}
    await wire.tasks.BatchCreateTasks(pb.BatchCreateTasksRequest(tasks=[spec(labels=labels)] * 200))
    call = narrow.tasks.WatchTasks(pb.WatchTasksRequest())
    cut = asyncio.Event()
    cut_follower = watch_hub.Subscriber.cut

    def note(subscriber: watch_hub.Subscriber, error: TaskplaneError) -> None:
        cut_follower(subscriber, error)
        cut.set()

    monkeypatch.setattr(watch_hub.Subscriber, "cut", note)
    await asyncio.wait_for(cut.wait(), PATIENCE_SECONDS)

    async def read_on() -> None:
        async for _ in call:
            pass

    refusal = await refusal_of(read_on())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")
