"""Two servers over one database, as processes: a rolling deployment, and an older server that wakes up too late."""

import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import sqlalchemy
from end_to_end.cluster import Cluster
from end_to_end.processes import PATIENCE_SECONDS, TASKPLANE, Process
from support.databases import SERVERS

from taskplane.client import Client, RetryPolicy, TaskplaneError, task_spec
from taskplane.v1.task_pb2 import TaskStatus

on_servers = pytest.mark.parametrize("empty_database_url", SERVERS, indirect=True)

TASKS = 120
ANYWHERE = ["--grpc", "127.0.0.1:0", "--no-http"]
# A unit with eight slots whose tasks take 0.2 s.
UNIT = """
import asyncio
from taskplane.unit import TaskContext, Unit

unit = Unit(id="napper", name="napper", type="TEST", capacity=8)

@unit.task("NAP")
async def nap(task: TaskContext, config: dict) -> None:
    await asyncio.sleep(0.2)
"""


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"


def serve_too(cluster: Cluster, address: str) -> Process:
    """Start a second server over the same database, and wait until it is ready."""
    where = ["--grpc", address, "--no-http", "--database-url", cluster.database_url]
    server = cluster.start("newer server", [TASKPLANE, "serve", *where])
    server.expect("ready grpc=")
    return server


def stored(cluster: Cluster) -> list[object]:
    """Return the tables of tasks, history and units."""
    engine = sqlalchemy.create_engine(cluster.database_url)
    with engine.connect() as connection:
        queries = (
            "SELECT id, status, revision, attempt, progress FROM tasks ORDER BY id",
            "SELECT id, task_id, to_status FROM task_status_history ORDER BY id",
            "SELECT id, last_heartbeat FROM execution_units ORDER BY id",
        )
        found: list[object] = [tuple(row) for query in queries for row in connection.execute(sqlalchemy.text(query))]
    engine.dispose()
    return found


def statuses(client: Client) -> Counter[str]:
    """Return the number of tasks in each status."""
    found = {TaskStatus.Name(each.status): each.count for each in client.get_statistics().tasks}
    return Counter({name.removeprefix("TASK_STATUS_"): count for name, count in found.items() if count})


@contextmanager
def restless(client: Client, tasks: int) -> Iterator[None]:
    """Pause, resume, cancel and restart tasks from many clients at full speed, until the end of the context."""
    is_over = threading.Event()

    def work(seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311  (it keeps no secret)
        while not is_over.is_set():
            verb = chosen.choice([client.start_task, client.cancel_task, client.restart_task])
            with suppress(TaskplaneError):
                verb(chosen.randint(1, tasks))

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    yield
    is_over.set()


def test_in_a_rolling_deployment_every_task_runs_and_no_slot_is_lost(any_cluster: Cluster) -> None:
    """Start the newer server while the older one dispatches, end the older one, and move the unit."""
    cluster = any_cluster
    older, address = cluster.serve(), free_address()
    (cluster.folder / "napper.py").write_text(UNIT)
    both = f"ipv4:{cluster.address},{address}"
    unit = cluster.start("unit", [TASKPLANE, "--server", both, "unit", "run", "napper.py:unit"])
    unit.expect("session: welcomed")
    cluster.client.batch_create_tasks([task_spec("NAP", f"nap {number}", start=True) for number in range(TASKS)])
    serve_too(cluster, address)
    assert older.wait() == 1
    assert "another server has taken over" in older.output
    with Client(address, timeout=PATIENCE_SECONDS, retry=RetryPolicy(attempts=100)) as client:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := statuses(client)) != {"SUCCESS": TASKS}:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        (napper,) = client.list_units()
        assert (napper.current_load, client.get_statistics().slots_used) == (0, 0)


@on_servers
def test_a_frozen_server_holds_nothing_up_and_writes_nothing_when_it_wakes_up(any_cluster: Cluster) -> None:
    cluster, tasks = any_cluster, 20
    older, address = cluster.serve(), free_address()
    client = Client(cluster.address, timeout=2.0, retry=RetryPolicy(attempts=1))
    client.batch_create_tasks([task_spec("NAP", f"nap {number}", start=True) for number in range(tasks)])
    with restless(client, tasks):
        time.sleep(1.0)  # frozen in the middle of its work
        older.signal(signal.SIGSTOP)
        serve_too(cluster, address)
        with Client(address, timeout=PATIENCE_SECONDS, retry=RetryPolicy(attempts=1)) as newer:
            for task_id in range(1, tasks + 1):
                newer.cancel_task(task_id)
                newer.restart_task(task_id)
    before = stored(cluster)
    older.signal(signal.SIGCONT)
    assert older.wait() == 1
    assert "another server has taken over" in older.output
    assert stored(cluster) == before
    client.close()


def test_a_server_that_cannot_listen_leaves_the_one_that_serves_alone(any_cluster: Cluster) -> None:
    cluster = any_cluster
    cluster.serve()
    where = ["--grpc", cluster.address, "--no-http", "--database-url", cluster.database_url]
    second = cluster.start("second server", [TASKPLANE, "serve", *where])
    assert second.wait() == 1
    assert "cannot listen" in second.output
    assert cluster.client.create_task("NAP", "one").id == 1


@pytest.mark.parametrize("table", ["execution_units", "id_blocks"])
def test_a_server_that_cannot_read_leaves_the_one_that_serves_alone(any_cluster: Cluster, table: str) -> None:
    cluster = any_cluster
    cluster.serve()
    engine = sqlalchemy.create_engine(cluster.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"ALTER TABLE {table} RENAME TO away"))
    try:
        second = cluster.start("second server", [TASKPLANE, "serve", "--database-url", cluster.database_url, *ANYWHERE])
        assert second.wait() == 1
    finally:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"ALTER TABLE away RENAME TO {table}"))
        engine.dispose()
    assert "Traceback" not in second.output
    assert cluster.client.create_task("NAP", "one").id == 1
