"""How far an attempt is: its progress and its checkpoints."""

from google.protobuf.struct_pb2 import Struct

from taskplane.unit.reports import progress_report
from taskplane.v1.execution_unit_control_pb2 import CheckpointReport, ProgressReport


class Journal:
    """The newest progress and the newest checkpoint of one attempt. Pure; not thread-safe."""

    def __init__(self, last_checkpoint_number: int) -> None:
        self.progress: ProgressReport | None = None
        # The newest one made here: what the attempt was started from is no news to the server.
        self.checkpoint: CheckpointReport | None = None
        self.checkpoint_number = last_checkpoint_number

    def note_progress(self, fraction: float | None, message: str | None) -> ProgressReport:
        """Keeps the newest values; what is not given stays as it was. Raises ValueError for a bad fraction."""
        last = self.progress or ProgressReport()
        self.progress = progress_report(
            last.fraction if fraction is None else fraction, last.message if message is None else message
        )
        return self.progress

    def note_checkpoint(self, data: Struct) -> CheckpointReport:
        """Numbers a new checkpoint."""
        self.checkpoint_number += 1
        self.checkpoint = CheckpointReport(number=self.checkpoint_number, data=data)
        return self.checkpoint

    def continue_from(self, last_checkpoint_number: int) -> None:
        """Numbers the next checkpoint after this one; a number is never used twice."""
        self.checkpoint_number = max(self.checkpoint_number, last_checkpoint_number)
