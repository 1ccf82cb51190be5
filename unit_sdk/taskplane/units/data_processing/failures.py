"""Failures of a task in words that name the config field and the file."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskplane.unit import TaskFailed

# Somebody can make room without touching the task.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def file_failure(field: str, path: Path, problem: str, *, retryable: bool = False) -> TaskFailed:
    """Return the failure that says what the `problem` with the file of a config field is."""
    return TaskFailed(f"{field}: {path}: {problem}", retryable=retryable)


@contextmanager
def os_errors_as_failures(field: str, path: Path, *, retryable: bool = False) -> Iterator[None]:
    """Turn an OSError inside into a failure that names the file; for want of space it is always retryable."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        raise file_failure(field, path, problem, retryable=retryable or error.errno in _NO_SPACE) from error
