"""kill -9 in the middle of a task, of the unit, the server or both: the task ends as if nothing had happened."""

from typing import Any

from end_to_end.cluster import Cluster
from end_to_end.output import assert_complete


def test_a_unit_that_was_killed_goes_on_from_the_last_checkpoint(
    any_cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster = any_cluster
    cluster.serve()
    unit = cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    unit.kill()
    checkpoint = cluster.client.get_task(task_id).checkpoint
    assert checkpoint.number > 0
    cluster.run_unit()
    done = cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCESS"]
    assert "unit lost" in cluster.reasons(task_id, "FAILED")[0]
    assert (done.retry_count, done.attempt) == (1, 2)
    assert done.checkpoint.number > checkpoint.number
    assert_complete(cluster.folder, uninterrupted)


def test_a_task_does_not_notice_that_the_server_was_killed(
    any_cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster = any_cluster
    server = cluster.serve()
    cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    server.kill()
    cluster.serve()
    done = cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "SUCCESS"]
    assert (done.retry_count, done.attempt) == (0, 1)
    assert_complete(cluster.folder, uninterrupted)


def test_a_task_survives_that_both_were_killed(cluster: Cluster, config: dict[str, Any], uninterrupted: bytes) -> None:
    server = cluster.serve()
    unit = cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    server.kill()
    unit.kill()
    cluster.serve()
    cluster.run_unit()
    done = cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "SUCCESS"]
    assert done.retry_count == 1
    assert_complete(cluster.folder, uninterrupted)


def test_a_pause_outlasts_a_server_and_a_unit_that_were_killed(
    cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    server = cluster.serve()
    unit = cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    paused = cluster.client.pause_task(task_id)
    server.kill()
    unit.kill()
    cluster.serve()
    cluster.run_unit()
    assert cluster.client.get_task(task_id).checkpoint == paused.checkpoint
    cluster.client.resume_task(task_id)
    done = cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert done.retry_count == 0
    assert_complete(cluster.folder, uninterrupted)
