"""The main job, as an operator does it: a CSV is processed, paused in the middle, resumed, and complete in the end."""

import json
from typing import Any

from end_to_end.cluster import Cluster
from end_to_end.output import BAD, GOOD, assert_complete, part_files


def test_a_csv_is_processed_with_a_pause_in_the_middle(
    any_cluster: Cluster, config: dict[str, Any], uninterrupted: bytes
) -> None:
    cluster = any_cluster
    cluster.serve()
    cluster.run_unit()
    created = cluster.document(
        "task", "create", "--type", "DATA_PROCESSING", "--name", "users", "--config", json.dumps(config), "--start"
    )
    task_id = str(created["id"])
    cluster.wait_for_progress(created["id"], 0.1)

    paused = cluster.document("task", "pause", task_id, "--reason", "lunch")
    assert paused["status"] == "PAUSED"
    assert 0 < paused["checkpoint"]["data"]["row"] < len(GOOD) + len(BAD)
    sizes = [path.stat().st_size for path in part_files(cluster.folder)]
    seen_later = cluster.document("task", "get", task_id)
    assert seen_later["revision"] == paused["revision"]
    assert [path.stat().st_size for path in part_files(cluster.folder)] == sizes
    assert not (cluster.folder / "users.json").exists()

    assert cluster.document("task", "resume", task_id)["status"] == "RUNNING"
    watched = cluster.taskplane("task", "watch", task_id)
    assert watched.returncode == 0, watched.stderr
    done = cluster.document("task", "get", task_id)
    assert (done["status"], done["retryCount"], done["attempt"]) == ("SUCCESS", 0, 2)
    assert (done["result"]["written"], done["result"]["rejected"]) == (len(GOOD), len(BAD))
    assert cluster.statuses(created["id"]) == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert cluster.reasons(created["id"], "PAUSED") == ["lunch"]
    assert_complete(cluster.folder, uninterrupted)
