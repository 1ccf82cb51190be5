"""Unread watches cost little, and delay neither probes nor calls; their memory goes with them."""

import socket
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from rpc.server import PATIENCE_SECONDS
from rpc.tasks import spec
from support.responsiveness import monitored, server_process

from taskplane.client import Client
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1 import task_service_pb2_grpc as task_grpc

MIB = 1024 * 1024
# Generous: without the fair scheduler the wait is minutes.
LONGEST_SECONDS = 8.0


@pytest.mark.alone
def test_probes_are_answered_beside_watches_that_nobody_reads(tmp_path: Path) -> None:
    with server_process(f"sqlite:///{tmp_path / 'taskplane.db'}") as server:
        with Client(server.grpc) as client:
            for _ in range(3):
                client.batch_create_tasks([spec(labels={"filler": "x" * 250})] * 1000)
        host, _, port = server.http.rpartition(":")
        with monitored(server) as probes, ExitStack() as stack:
            for _ in range(150):
                watch = stack.enter_context(socket.create_connection((host, int(port)), PATIENCE_SECONDS))
                watch.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            channel = stack.enter_context(grpc.insecure_channel(server.grpc))
            for _ in range(150):
                call = task_grpc.TaskServiceStub(channel).WatchTasks(pb.WatchTasksRequest())
                stack.callback(call.cancel)
            with Client(server.grpc) as client:
                for task_id in range(1, 50):
                    client.get_task(task_id)
        assert probes.longest < LONGEST_SECONDS, probes
        assert probes.grown_bytes < 250 * MIB, probes


def test_an_unread_watch_of_large_tasks_holds_a_few_of_them(tmp_path: Path) -> None:
    with server_process(f"sqlite:///{tmp_path / 'taskplane.db'}") as server:
        with Client(server.grpc) as client, grpc.insecure_channel(server.grpc) as channel:
            large: dict[str, object] = {"text": "x" * 700_000}
            client.create_task("WORK", "the first", large)
            before = server.rss_bytes
            call = task_grpc.TaskServiceStub(channel).WatchTasks(pb.WatchTasksRequest())
            next(iter(call))
            for number in range(150):
                client.create_task("WORK", f"large {number}", large)
            grown = server.rss_bytes - before
            call.cancel()
        # Without a bound by bytes the watch alone would hold 105 MB.
        assert grown < 90 * MIB, f"{grown / MIB:.0f} MiB"
