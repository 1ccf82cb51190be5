"""The two files that a task makes: the rows and the rejects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.failures import file_failure, os_errors_as_failures
from taskplane.units.data_processing.part_file import PartFile


class Output:
    """The part files of a task; both grow together, and become the output and the rejects at the end.

    While rows are written, the part of the output is locked: a process that was given up for dead and comes back
    cannot write beside its successor.
    """

    def __init__(self, config: DataProcessingConfig, task_id: int) -> None:
        """Touch nothing yet."""
        self._config = config
        self.rows = PartFile("outputPath", config.output_path, task_id)
        self.rejects = PartFile("rejectsPath", config.rejects, task_id)

    def open(self) -> None:
        """Open and lock the parts, with what an earlier attempt left in them, or make them."""
        _check_target("outputPath", self._config.output_path, self._config.input_path)
        _check_target("rejectsPath", self._config.rejects, self._config.input_path)
        for part in self._parts:
            part.open()
        self._take()

    def cut(self, output_bytes: int, rejects_bytes: int) -> bool:
        """Go back to a checkpoint's lengths. False, and nothing is done, if the parts do not hold so much."""
        if self.rows.length < output_bytes or self.rejects.length < rejects_bytes:
            return False
        self.rows.cut(output_bytes)
        self.rejects.cut(rejects_bytes)
        return True

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, the task may be paused for long, and another process may take over: the parts are not locked.

        At the end it is a retryable failure if that has happened.
        """
        self.rows.unlock()
        yield
        self._take()

    def sync(self) -> None:
        """Make everything so far survive a loss of power."""
        for part in self._parts:
            part.sync()

    def publish(self) -> None:
        """Put both files in their places; the output last, so that it stands for the end of the work.

        Without rejects there is no rejects file, and an older one is removed.
        """
        self.sync()
        if self.rejects.length:
            self.rejects.publish()
        else:
            self.rejects.retract()
        self.rows.publish()
        for part in self._parts:
            part.sync_folder()

    def discard(self) -> None:
        """Remove the parts."""
        for part in self._parts:
            part.discard()

    def close(self) -> None:
        """Let go of the parts, which stay."""
        for part in self._parts:
            part.close()

    @property
    def _parts(self) -> tuple[PartFile, PartFile]:
        return self.rows, self.rejects

    def _take(self) -> None:
        self.rows.lock()
        for part in self._parts:
            part.require_untouched()


def _check_target(field: str, target: Path, source: Path) -> None:
    with os_errors_as_failures(field, target):
        if not target.parent.is_dir():
            raise file_failure(field, target, "its folder does not exist")
        if target.is_dir():
            raise file_failure(field, target, "is a directory")
        if target.exists() and target.samefile(source):
            raise file_failure(field, target, "is the input file")
