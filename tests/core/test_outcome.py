"""The reports in the outcomes of units without a stream."""

from typing import Any

import pytest
from support.builders import NOW, a_task

from taskplane.server.core.effect import Effect
from taskplane.server.core.task import Checkpoint, Progress, TaskStatus
from taskplane.server.core.unit_report import (
    Cancelled,
    CheckpointMade,
    Failed,
    Failure,
    Outcome,
    Paused,
    ProgressMade,
    Released,
    Succeeded,
    fraction,
    kinds,
)

CHECKPOINT = Checkpoint(0, 7, NOW, {"row": 1})
PROGRESS = Progress(0.5, "half", NOW)

CASES: list[tuple[str, dict[str, Any], list[object]]] = [
    ("PENDING", {}, []),
    ("RUNNING", {}, []),
    ("RUNNING", {"progress": 0.5, "message": "half"}, [ProgressMade(PROGRESS)]),
    ("PENDING", {"progress": 50, "message": "half"}, [ProgressMade(PROGRESS)]),
    (
        "RUNNING",
        {"progress": 0.5, "message": "half", "checkpoint": {"row": 1}},
        [CheckpointMade(CHECKPOINT), ProgressMade(PROGRESS)],
    ),
    ("PAUSED", {}, [Paused(None, None)]),
    ("PAUSED", {"progress": 0.5, "message": "half", "checkpoint": {"row": 1}}, [Paused(CHECKPOINT, PROGRESS)]),
    ("PAUSED", {"released": True, "checkpoint": {"row": 1}, "message": "bye"}, [Released(CHECKPOINT, "bye")]),
    ("SUCCESS", {"result": {"rows": 1}}, [Succeeded({"rows": 1})]),
    ("FAILED", {"error_message": "oh", "message": "no"}, [Failed(Failure("oh"))]),
    ("FAILED", {"message": "no", "retryable": False}, [Failed(Failure("no", not_retryable=True))]),
    ("FAILED", {"checkpoint": {"row": 1}}, [Failed(Failure("failed without a message", checkpoint=CHECKPOINT))]),
    ("CANCELLED", {"message": "gone"}, [Cancelled("gone")]),
]


@pytest.mark.parametrize(("status", "said", "reports"), CASES)
def test_an_outcome_stands_for_reports(status: str, said: dict[str, Any], reports: list[object]) -> None:
    assert list(kinds(Outcome(status=TaskStatus(status), **said), attempt=7, now=NOW)) == reports


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 0.0), (0.25, 0.25), (1, 1.0), (1.5, 0.015), (100, 1.0), (1 + 2**-52, 1.0), (-1e-17, 0.0)],
)
def test_progress_is_a_fraction_or_a_percentage(progress: float, expected: float) -> None:
    assert fraction(progress) == expected


@pytest.mark.parametrize("progress", [-0.1, 100.1, float("nan"), float("inf")])
def test_other_numbers_are_no_progress(progress: float) -> None:
    with pytest.raises(ValueError, match="must be a fraction"):
        fraction(progress)


def test_a_checkpoint_without_a_number_gets_the_next_one() -> None:
    stored = Effect(a_task(TaskStatus.RUNNING, last_checkpoint_number=4)).store(CHECKPOINT)
    assert stored.checkpoint is not None
    assert (stored.checkpoint.number, stored.task.last_checkpoint_number) == (5, 5)
