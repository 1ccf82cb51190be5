"""A task as callers see it: the stored record with its progress, and the reason of a wait."""

from dataclasses import dataclass
from datetime import datetime

from taskplane.server.core.task import Task
from taskplane.server.execution_units.waiting import Waiting


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task at one moment."""

    task: Task
    waiting: Waiting | None
    seen_at: datetime
