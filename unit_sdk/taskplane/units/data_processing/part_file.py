"""A file under another name until it is complete."""

import fcntl
import os
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path

from taskplane.unit import TaskFailed
from taskplane.units.data_processing.failures import file_failure, os_errors_as_failures


class PartFile:
    """The unfinished file `target`, as `.<name>.<task id>.part` in the same folder.

    A part file outlives the process, so another process can continue the file. `length` is the number of bytes found or
    written by this process. Failures name the config field of the target.
    """

    def __init__(self, field: str, target: Path, task_id: int) -> None:
        """Prepare the path without touching the disk."""
        self.length = 0
        self._field = field
        self._target = target
        self._path = target.with_name(f".{target.name}.{task_id}.part")
        self._opened: FileIO | None = None

    def open(self) -> None:
        """Open the file with the contents of earlier attempts, or create an empty one. Writing requires `lock`."""
        with self._failing(retryable=False):
            self._opened = self._path.open("ab", buffering=0)
            self.length = os.fstat(self._file.fileno()).st_size
        self.sync_folder()

    def close(self) -> None:
        """Close and unlock the file, without removing it. Harmless if the file is not open."""
        if self._opened:
            self._opened.close()

    @property
    def _file(self) -> FileIO:
        if self._opened is None:
            raise ValueError(f"{self._path} is not open")
        return self._opened

    def lock(self) -> None:
        """Lock the file against other processes of this machine. Raises a retryable TaskFailed if locked."""
        with self._failing():
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._conflict() from error

    def unlock(self) -> None:
        """Unlock the file."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def require_unmodified(self) -> None:
        """Raise a retryable TaskFailed if another process has written or replaced the file."""
        with self._failing():
            mine = os.fstat(self._file.fileno())
            is_there = self._path.exists() and os.path.samestat(self._path.stat(), mine)
        if not is_there or mine.st_size != self.length:
            raise self._conflict()

    def cut(self, length: int) -> None:
        """Truncate the file to `length` bytes."""
        with self._failing():
            self._file.truncate(length)
        self.length = length

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end."""
        rest = memoryview(data)
        with self._failing():
            while rest:
                rest = rest[self._file.write(rest) :]
        self.length += len(data)

    def sync(self) -> None:
        """Write the file to the disk, safe from a power failure."""
        with self._failing():
            os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Move the file to its target, and replace an older target."""
        with self._failing():
            self._path.replace(self._target)

    def remove_all(self) -> None:
        """Remove the part file and an older target."""
        self.discard()
        with self._failing():
            self._target.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the part file if there is one."""
        with self._failing(retryable=False):
            if os.path.lexists(self._path):
                self._path.unlink()

    def sync_folder(self) -> None:
        """Write the folder's file names to the disk, safe from a power failure."""
        with self._failing():
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _failing(self, *, retryable: bool = True) -> AbstractContextManager[None]:
        return os_errors_as_failures(self._field, self._target, retryable=retryable)

    def _conflict(self) -> TaskFailed:
        return file_failure(
            self._field, self._path, "another process is writing to it, for the same task", retryable=True
        )
