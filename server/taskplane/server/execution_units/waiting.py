"""The reason why a queued task is waiting."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from taskplane.server.core.placement import suits
from taskplane.server.core.task import Task
from taskplane.server.core.task_queue import kind_of
from taskplane.server.execution_units.unit_entry import UnitEntry


class WaitingReason(StrEnum):
    """Reason why a queued task is waiting; see taskplane/v1/task.proto."""

    DISPATCHING = "DISPATCHING"
    NO_UNIT_FOR_TYPE = "NO_UNIT_FOR_TYPE"
    NO_UNIT_WITH_LABELS = "NO_UNIT_WITH_LABELS"
    UNITS_BUSY = "UNITS_BUSY"
    UNITS_DRAINING = "UNITS_DRAINING"
    RETRY_BACKOFF = "RETRY_BACKOFF"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The reason, and a message for people that suggests a remedy."""

    reason: WaitingReason
    message: str


def explain_waiting(task: Task, units: Iterable[UnitEntry]) -> Waiting:
    """Return why none of these units has a slot for a task."""
    connected = [unit for unit in units if unit.session]
    of_type = [unit for unit in connected if unit.record.accepts(task.task_type)]
    if not of_type:
        message = f"no connected unit accepts {task.task_type}; start one"
        return Waiting(WaitingReason.NO_UNIT_FOR_TYPE, message)
    suitable = [unit for unit in of_type if suits(unit.record.task_types, unit.record.labels, kind_of(task))]
    if not suitable:
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(task.unit_labels.items()))
        return Waiting(WaitingReason.NO_UNIT_WITH_LABELS, f"no unit for {task.task_type} has the labels {wanted}")
    staying = [unit for unit in suitable if unit.session and not unit.session.draining]
    if not staying:
        return Waiting(WaitingReason.UNITS_DRAINING, f"every unit for {task.task_type} is about to leave")
    if not any(unit.session and unit.session.accepts_work for unit in staying):
        return Waiting(WaitingReason.UNITS_BUSY, f"no unit for {task.task_type} answers at the moment")
    slots = sum(unit.record.capacity for unit in staying)
    return Waiting(WaitingReason.UNITS_BUSY, f"all {slots} slots for {task.task_type} are in use")
