"""The two files that a task writes: rows and rejects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.failures import file_failure, os_errors_as_failures
from taskplane.units.data_processing.part_file import PartFile


class OutputFiles:
    """The part files of a task. Both grow together, and become the output and the rejects at the end.

    While rows are written, the part file of the output is locked: a process that was considered dead and comes back
    cannot write at the same time as its successor.
    """

    def __init__(self, config: DataProcessingConfig, task_id: int) -> None:
        """Prepare the paths without touching the disk."""
        self._config = config
        self.rows = PartFile("outputPath", config.output_path, task_id)
        self.rejects = PartFile("rejectsPath", config.rejects, task_id)

    def open(self) -> None:
        """Open and lock the part files, with the contents of an earlier attempt if there are any."""
        _check_target("outputPath", self._config.output_path, self._config.input_path)
        _check_target("rejectsPath", self._config.rejects, self._config.input_path)
        for part in self._parts:
            part.open()
        self._lock_and_check()

    def cut(self, output_bytes: int, rejects_bytes: int) -> bool:
        """Truncate both files to a checkpoint's lengths. Return False, unchanged, if the files are shorter."""
        if self.rows.length < output_bytes or self.rejects.length < rejects_bytes:
            return False
        self.rows.cut(output_bytes)
        self.rejects.cut(rejects_bytes)
        return True

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Unlock the files inside the block, where the task may pause and another process may take over.

        Raises a retryable TaskFailed at the end of the block if another process has taken over.
        """
        self.rows.unlock()
        yield
        self._lock_and_check()

    def sync(self) -> None:
        """Write everything to the disk, so that it survives a power failure."""
        for part in self._parts:
            part.sync()

    def publish(self) -> None:
        """Move both files to their places; the output last, since its presence means that the work is complete.

        Without rejects there is no rejects file, and an older one is removed.
        """
        self.sync()
        if self.rejects.length:
            self.rejects.publish()
        else:
            self.rejects.remove_all()
        self.rows.publish()
        for part in self._parts:
            part.sync_folder()

    def discard(self) -> None:
        """Remove the part files."""
        for part in self._parts:
            part.discard()

    def close(self) -> None:
        """Close the part files, which remain on disk."""
        for part in self._parts:
            part.close()

    @property
    def _parts(self) -> tuple[PartFile, PartFile]:
        return self.rows, self.rejects

    def _lock_and_check(self) -> None:
        self.rows.lock()
        for part in self._parts:
            part.require_unmodified()


def _check_target(field: str, target: Path, source: Path) -> None:
    with os_errors_as_failures(field, target):
        if not target.parent.is_dir():
            raise file_failure(field, target, "its folder does not exist")
        if target.is_dir():
            raise file_failure(field, target, "is a directory")
        if target.exists() and target.samefile(source):
            raise file_failure(field, target, "is the input file")
