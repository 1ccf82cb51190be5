"""The latest progress and the latest checkpoint of an attempt."""

from google.protobuf.struct_pb2 import Struct

from taskplane.unit.reports import progress_report
from taskplane.v1.execution_unit_control_pb2 import CheckpointReport, ProgressReport


class LatestReports:
    """The latest progress and the latest checkpoint of one attempt, and the checkpoint's number. Not thread-safe."""

    def __init__(self, last_checkpoint_number: int) -> None:
        self.progress: ProgressReport | None = None
        # None until the attempt makes one: the server has the checkpoint that the attempt was started from.
        self.checkpoint: CheckpointReport | None = None
        self.checkpoint_number = last_checkpoint_number

    def note_progress(self, fraction: float | None, message: str | None) -> ProgressReport:
        """Store and return the new progress; None keeps the last value. Raises ValueError for a bad fraction."""
        last = self.progress or ProgressReport()
        self.progress = progress_report(
            last.fraction if fraction is None else fraction, last.message if message is None else message
        )
        return self.progress

    def note_checkpoint(self, data: Struct) -> CheckpointReport:
        """Store and return a new checkpoint under the next number."""
        self.checkpoint_number += 1
        self.checkpoint = CheckpointReport(number=self.checkpoint_number, data=data)
        return self.checkpoint

    def continue_from(self, last_checkpoint_number: int) -> None:
        """Continue the numbers of checkpoints above `last_checkpoint_number`; no number is used twice."""
        self.checkpoint_number = max(self.checkpoint_number, last_checkpoint_number)
