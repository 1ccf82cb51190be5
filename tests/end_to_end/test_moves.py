"""A task continues at another unit, from its checkpoint; cancel and restart clean up its files."""

import signal
from typing import Any

from end_to_end.cluster import Cluster
from end_to_end.output import assert_complete, part_files

from taskplane.v1 import task_pb2


def test_a_paused_task_goes_on_at_another_unit_when_its_own_is_dead(
    cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster.serve()
    unit = cluster.run_unit("unit-1")
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    cluster.client.pause_task(task_id)
    unit.kill()
    cluster.run_unit("unit-2")
    assert cluster.client.resume_task(task_id).execution_unit_id == "unit-2"
    cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert_complete(cluster.folder, uninterrupted)


def test_a_unit_that_is_told_to_end_gives_its_task_to_another(
    cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster.serve()
    unit = cluster.run_unit("unit-1")
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    unit.signal(signal.SIGSTOP)  # so that the task does not end while the other unit starts
    cluster.run_unit("unit-2")
    unit.signal(signal.SIGCONT)
    assert unit.terminate() == 0
    done = cluster.wait_for(task_id, "SUCCESS")
    assert (done.execution_unit_id, done.retry_count) == ("unit-2", 0)
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert not cluster.is_connected("unit-1")
    assert_complete(cluster.folder, uninterrupted)


def test_a_task_that_was_given_back_waits_for_the_next_unit(
    cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster.serve()
    unit = cluster.run_unit("unit-1")
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    assert unit.terminate() == 0
    waiting = cluster.client.get_task(task_id)
    assert waiting.status == task_pb2.TASK_STATUS_PAUSED
    assert waiting.waiting_reason == task_pb2.WAITING_REASON_NO_UNIT_FOR_TYPE
    cluster.run_unit("unit-2")
    cluster.wait_for(task_id, "SUCCESS")
    assert cluster.client.get_task(task_id).retry_count == 0
    assert_complete(cluster.folder, uninterrupted)


def test_a_cancel_removes_the_part_files_and_a_restart_begins_from_scratch(
    cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster.serve()
    cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.2)
    assert part_files(cluster.folder)
    assert cluster.client.cancel_task(task_id).status == task_pb2.TASK_STATUS_CANCELLED
    assert part_files(cluster.folder) == []
    assert not (cluster.folder / "users.json").exists()

    restarted = cluster.client.restart_task(task_id)
    assert not restarted.HasField("checkpoint")
    cluster.wait_for(task_id, "SUCCESS")
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "CANCELLED", "PENDING", "RUNNING", "SUCCESS"]
    assert_complete(cluster.folder, uninterrupted)


def test_a_task_that_is_held_paused_is_cleaned_up_by_cancel(cluster: Cluster, config: dict[str, Any]) -> None:
    cluster.serve()
    cluster.run_unit()
    task_id = cluster.process_csv(config)
    cluster.wait_for_progress(task_id, 0.1)
    cluster.client.pause_task(task_id)
    assert part_files(cluster.folder)
    assert cluster.client.cancel_task(task_id).status == task_pb2.TASK_STATUS_CANCELLED
    assert part_files(cluster.folder) == []


def test_what_cannot_be_done_fails_with_the_field_and_the_path(cluster: Cluster, config: dict[str, Any]) -> None:
    cluster.serve()
    cluster.run_unit()
    task_id = cluster.process_csv(config | {"inputPath": "nowhere.csv"})
    watched = cluster.taskplane("task", "watch", str(task_id))
    assert watched.returncode == 1
    task = cluster.client.get_task(task_id)
    assert "inputPath" in task.error_message
    assert "nowhere.csv" in task.error_message
    assert cluster.statuses(task_id) == ["PENDING", "RUNNING", "FAILED"]
