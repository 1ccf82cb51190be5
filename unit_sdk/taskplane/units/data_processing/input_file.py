"""The input file, with checks that it stays unchanged over pauses and restarts of the unit."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Self

from taskplane.unit import TaskFailed
from taskplane.units.data_processing.checkpoint import InputIdentity
from taskplane.units.data_processing.failures import file_failure, os_errors_as_failures

HEAD_BYTES = 64 * 1024


class InputFile:
    """An open CSV file, as a context manager. Every failure names inputPath and is not retryable."""

    def __init__(self, path: Path) -> None:
        """Open a regular file; a pipe could not be read again after a pause."""
        self._path = path
        with os_errors_as_failures("inputPath", path):
            self._stat = path.stat()
            if not stat.S_ISREG(self._stat.st_mode):
                kind = "a directory" if stat.S_ISDIR(self._stat.st_mode) else "not a regular file"
                raise file_failure("inputPath", path, f"is {kind}")
            self.file = path.open("rb")
        self.identity = self._identify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._stat.st_size

    def require_same(self, before: InputIdentity) -> None:
        """Raise TaskFailed unless an earlier attempt read the same file."""
        if self.identity != before:
            raise self._changed()

    def require_unchanged(self) -> None:
        """Raise TaskFailed if the file was written, replaced or removed after it was opened."""
        with os_errors_as_failures("inputPath", self._path):
            now = self._path.stat()
        if not os.path.samestat(now, self._stat) or self._version(now) != self._version(self._stat):
            raise self._changed()

    def _identify(self) -> InputIdentity:
        with os_errors_as_failures("inputPath", self._path):
            head = self.file.read(HEAD_BYTES)
            self.file.seek(0)
        return InputIdentity(
            size=self.size,
            modified_ns=str(self._stat.st_mtime_ns),
            head_sha256=hashlib.sha256(head).hexdigest(),
        )

    def _changed(self) -> TaskFailed:
        return file_failure("inputPath", self._path, "was changed since the task began; restart the task")

    @staticmethod
    def _version(of: os.stat_result) -> tuple[int, int]:
        return of.st_size, of.st_mtime_ns
