"""Task failures that name the config field and the file."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskplane.unit import TaskFailed

# These end without a change of the task, once the disk has space.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def file_failure(field: str, path: Path, problem: str, *, retryable: bool = False) -> TaskFailed:
    """Return a failure with the `problem` of a config field's file."""
    return TaskFailed(f"{field}: {path}: {problem}", retryable=retryable)


@contextmanager
def os_errors_as_failures(field: str, path: Path, *, retryable: bool = False) -> Iterator[None]:
    """Convert an OSError of the block to a failure that names the file. A full disk is always retryable."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        raise file_failure(field, path, problem, retryable=retryable or error.errno in _NO_SPACE) from error
