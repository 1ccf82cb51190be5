"""The server as a process: its start, its refusals to start, and its end."""

import signal
import sqlite3
import subprocess
from typing import Any

import grpc
import pytest
from end_to_end.cluster import Cluster
from end_to_end.processes import TASKPLANE
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskplane.client import Client


def refused(cluster: Cluster, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a server that must not start."""
    return subprocess.run(  # noqa: S603  (our own command)
        [TASKPLANE, "serve", "--no-http", *options],
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_port_0_picks_a_free_port(cluster: Cluster) -> None:
    cluster.serve()
    assert cluster.address.startswith("127.0.0.1:")
    assert not cluster.address.endswith(":0")
    assert cluster.document("task", "list") == []


def test_a_second_server_on_the_same_port_says_so(cluster: Cluster) -> None:
    cluster.serve()
    second = refused(cluster, "--grpc", cluster.address, "--database-url", "sqlite:///other.db")
    assert second.returncode == 1
    assert cluster.address in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    "url", ["mysql+pymysql://root:secret@127.0.0.1:1/taskplane", "sqlite:////nowhere/at/all/taskplane.db"]
)
def test_a_database_that_cannot_be_reached_is_told_in_one_line(url: str, cluster: Cluster) -> None:
    server = refused(cluster, "--grpc", "127.0.0.1:0", "--database-url", url)
    assert server.returncode == 1
    errors = [line for line in server.stderr.splitlines() if not line.startswith("20")]  # except log lines
    assert len(errors) == 1
    assert errors[0].startswith("taskplane: database ")
    assert "secret" not in server.stdout + server.stderr
    assert "ready" not in server.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--grpc", "nowhere"), "nowhere"),
        (("--grpc", "127.0.0.1:65536"), "65536"),
        (("--database-url", "postgresql://root:secret@127.0.0.1/x"), "postgresql"),
        (("--log-level", "LOUD"), "LOUD"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_a_bad_option_is_named(options: tuple[str, ...], named: str, cluster: Cluster) -> None:
    server = refused(cluster, *options)
    assert server.returncode == 2
    assert named in server.stderr
    assert "secret" not in server.stderr
    assert "Traceback" not in server.stderr


def test_without_migration_an_empty_database_is_refused(cluster: Cluster) -> None:
    server = refused(cluster, "--grpc", "127.0.0.1:0", "--database-url", cluster.database_url, "--no-migrate")
    assert server.returncode == 1
    assert "--no-migrate" in server.stderr
    with sqlite3.connect(cluster.folder / "taskplane.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


@pytest.mark.parametrize("options", [(), ("--no-migrate",)])
def test_a_database_that_a_newer_program_has_migrated_is_told_in_one_line(
    options: tuple[str, ...], cluster: Cluster
) -> None:
    cluster.serve().terminate()
    with sqlite3.connect(cluster.folder / "taskplane.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    server = refused(cluster, "--grpc", "127.0.0.1:0", "--database-url", cluster.database_url, *options)
    assert server.returncode == 1
    errors = [line for line in server.stderr.splitlines() if not line.startswith("20")]  # except log lines
    assert len(errors) == 1
    assert "run the newer program" in errors[0]
    assert "--no-migrate" not in errors[0]


def test_without_migration_a_database_that_is_up_to_date_is_served(cluster: Cluster) -> None:
    cluster.serve().terminate()
    cluster.serve("--no-migrate")
    assert cluster.document("task", "list") == []


def test_sigterm_ends_a_server_that_is_at_work_and_its_unit_goes_on(cluster: Cluster, config: dict[str, Any]) -> None:
    server = cluster.serve()
    cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.1)
    assert server.terminate() == 0
    cluster.serve()
    cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "SUCCESS"]


def test_task_ids_go_on_after_a_stop_in_order(cluster: Cluster) -> None:
    ids = []
    for _ in range(3):
        server = cluster.serve()
        with Client(cluster.address) as client:
            ids.append(client.create_task("COUNT", "one").id)
        assert server.terminate() == 0
    assert ids == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait_for_calls_under_way(number: signal.Signals, cluster: Cluster) -> None:
    server = cluster.serve(TASKPLANE_DRAIN_SECONDS="600")
    with grpc.insecure_channel(cluster.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types are incomplete
        call = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(call).status == health_pb2.HealthCheckResponse.SERVING
        server.signal(number)
        # This call ends with its caller alone, so the server waits for the call.
        assert next(call).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.signal(number)
        assert server.wait() == 1
        call.cancel()
