"""An estimate of the memory that a task takes, so that what waits for slow readers is bounded by bytes."""

from collections.abc import Mapping
from typing import Any

from taskplane.server.core.task import Task

# A task without documents, and its message.
_TASK_BYTES = 1500
_TEXT_BYTES = 50
_CONTAINER_BYTES = 80
_NUMBER_BYTES = 16
# Counting ends here: whatever the rest is, it is much.
_ENOUGH_BYTES = 4 * 1024 * 1024


def weight_of(task: Task) -> int:
    """Return about how many bytes a task takes."""
    documents = (task.config, task.result, task.labels, task.error_message)
    return _TASK_BYTES + sum(_document_bytes(each) for each in documents if each)


def _document_bytes(document: Any) -> int:
    total = 0
    left = [document]
    while left and total < _ENOUGH_BYTES:
        value = left.pop()
        if isinstance(value, str):
            total += _TEXT_BYTES + len(value)
        elif isinstance(value, Mapping):
            total += _CONTAINER_BYTES + sum(_TEXT_BYTES + len(key) for key in value)
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            total += _CONTAINER_BYTES
            left.extend(value)
        else:
            total += _NUMBER_BYTES
    return total
