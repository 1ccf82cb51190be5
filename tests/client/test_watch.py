from queue import SimpleQueue

import grpc
import pytest
from client.conftest import FakeServer, because, in_background

from taskplane.client import Client, NotFoundError, OutOfRangeError, UnavailableError
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import (
    KeepAlive,
    SnapshotComplete,
    TaskDeleted,
    TransitionEvent,
    WatchTasksResponse,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def snapshot(revision: int, task_id: int) -> WatchTasksResponse:
    return WatchTasksResponse(revision=revision, snapshot=Task(id=task_id))


def snapshot_complete(revision: int) -> WatchTasksResponse:
    return WatchTasksResponse(revision=revision, snapshot_complete=SnapshotComplete())


def transition(revision: int) -> WatchTasksResponse:
    return WatchTasksResponse(revision=revision, transition=TransitionEvent())


def deleted(revision: int, task_id: int) -> WatchTasksResponse:
    return WatchTasksResponse(revision=revision, deleted=TaskDeleted(task_id=task_id))


class Watcher:
    """Reads a watch on its own thread; a test waits for the revisions."""

    def __init__(self, client: Client, *task_ids: int, reconnect_timeout: float = 60.0) -> None:
        self._seen: SimpleQueue[int] = SimpleQueue()
        self._watch = client.watch(task_ids, include_progress=True, reconnect_timeout=reconnect_timeout)
        self.done = in_background(self._read)

    def _read(self) -> None:
        for event in self._watch:
            self._seen.put(event.revision)

    def sees(self, *revisions: int) -> bool:
        return [self._seen.get(timeout=20) for _ in revisions] == list(revisions)


def test_a_broken_watch_resumes_after_its_last_revision(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client, 7)
    stream = server.take_watch()
    assert not stream.request.HasField("after_revision")
    stream.send(snapshot(5, 7), snapshot_complete(5), transition(8))
    assert watcher.sees(5, 5, 8)
    stream.fail(UNAVAILABLE, "connection lost")
    again = server.take_watch()
    assert again.request.after_revision == 8
    assert list(again.request.task_ids) == [7]
    assert again.request.include_progress
    again.send(transition(9))
    assert watcher.sees(9)


def test_a_watch_that_breaks_within_its_snapshot_begins_again(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client, 1, 2)
    stream = server.take_watch()
    stream.send(snapshot(5, 1))
    assert watcher.sees(5)
    stream.fail(UNAVAILABLE)
    assert not server.take_watch().request.HasField("after_revision")


def test_a_watch_from_a_revision_resumes_after_its_last_event(client: Client, server: FakeServer) -> None:
    watch = client.watch(after_revision=3)
    watching = in_background(lambda: next(watch).revision)
    server.take_watch().fail(UNAVAILABLE)
    stream = server.take_watch()
    assert stream.request.after_revision == 3
    stream.send(WatchTasksResponse(revision=6, keep_alive=KeepAlive()))
    assert watching.result(20) == 6
    continued = in_background(lambda: next(watch).revision)
    stream.fail(UNAVAILABLE)
    again = server.take_watch()
    again.send(deleted(7, 1))
    assert continued.result(20) == 7
    assert again.request.after_revision == 6


def test_a_watch_resumes_without_a_deleted_task(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client, 7, 8)
    stream = server.take_watch()
    stream.send(snapshot_complete(5), deleted(6, 7))
    assert watcher.sees(5, 6)
    stream.fail(UNAVAILABLE)
    again = server.take_watch()
    assert (again.request.after_revision, list(again.request.task_ids)) == (6, [8])
    again.send(deleted(9, 8))
    assert watcher.sees(9)
    again.fail(UNAVAILABLE)
    last = server.take_watch()
    assert list(last.request.task_ids) == [8], "and not all"
    last.fail(grpc.StatusCode.NOT_FOUND, "no task 8", because("TASK_NOT_FOUND"))
    with pytest.raises(NotFoundError, match="no task 8"):
        watcher.done.result(20)


def test_a_slow_reader_comes_back(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client)
    stream = server.take_watch()
    stream.send(snapshot_complete(5))
    assert watcher.sees(5)
    stream.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "too slow", because("SLOW_READER"))
    assert server.take_watch().request.after_revision == 5


def test_a_watch_that_the_server_ends_comes_back(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client)
    stream = server.take_watch()
    stream.send(snapshot_complete(5))
    assert watcher.sees(5)
    stream.end()
    assert server.take_watch().request.after_revision == 5


def test_a_first_connection_that_fails_is_tried_as_often_as_any_call(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client)
    for _ in range(3):
        server.take_watch().fail(UNAVAILABLE, "nobody there")
    with pytest.raises(UnavailableError, match="nobody there"):
        watcher.done.result(20)


def test_a_watch_gives_up_after_its_reconnect_timeout(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client, reconnect_timeout=0)
    stream = server.take_watch()
    stream.send(snapshot_complete(5))
    assert watcher.sees(5)
    stream.fail(UNAVAILABLE, "gone for good")
    with pytest.raises(UnavailableError, match="gone for good"):
        watcher.done.result(20)


def test_an_error_that_a_reconnect_cannot_mend_is_raised(client: Client, server: FakeServer) -> None:
    watcher = Watcher(client, 7)
    server.take_watch().fail(grpc.StatusCode.NOT_FOUND, "no task 7", because("TASK_NOT_FOUND"))
    with pytest.raises(NotFoundError, match="no task 7"):
        watcher.done.result(20)

    watcher = Watcher(client)
    stream = server.take_watch()
    stream.send(snapshot_complete(5))
    assert watcher.sees(5)
    stream.fail(UNAVAILABLE)
    server.take_watch().fail(grpc.StatusCode.OUT_OF_RANGE, "purged", because("REVISION_TOO_OLD"))
    with pytest.raises(OutOfRangeError, match="purged"):
        watcher.done.result(20)
