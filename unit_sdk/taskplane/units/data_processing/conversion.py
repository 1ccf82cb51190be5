"""The work itself: rows in, rows and rejects out, a batch at a time."""

from typing import Any

from taskplane.units.data_processing.checkpoint import Checkpoint
from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.input_file import InputFile
from taskplane.units.data_processing.layout import layout_for, rejected_line, row_encoder
from taskplane.units.data_processing.output import Output
from taskplane.units.data_processing.reader import CsvReader
from taskplane.units.data_processing.row_check import RowCheck


class Conversion:
    """One attempt's way through the input. Between two calls it stands between two rows, in all three files."""

    def __init__(self, config: DataProcessingConfig, source: InputFile, output: Output) -> None:
        """Stand before the first row. NotCsvError, MissingColumnError: the header will not do."""
        self._config = config
        self._source = source
        self._output = output
        self._reader = CsvReader(source.file, delimiter=config.delimiter, encoding=config.encoding)
        self._check = RowCheck(self._reader.header, config.validation_rules, config.rule_options)
        self._encode = row_encoder(self._reader.header)
        self._layout = layout_for(config.output_path)
        self._written = 0
        self._rejected = 0

    def go_to(self, checkpoint: Checkpoint | None) -> None:
        """Go on from `checkpoint`, or from scratch: without one, or when the part files it counts on are gone.

        They are gone if the task ends up on a machine with other disks, or if the process died between publishing
        them and saying so. The rows are the same again, so nothing is lost but time. An open `output` is needed.
        """
        if checkpoint:
            self._source.require_same(checkpoint.input)
        if checkpoint and self._output.cut(checkpoint.output_bytes, checkpoint.rejects_bytes):
            self._reader.go_to(checkpoint.offset, checkpoint.row)
            self._written, self._rejected = checkpoint.written, checkpoint.rejected
        else:
            self._output.cut(0, 0)

    def convert_batch(self) -> bool:
        """Convert the next rows, up to the end of a batch or where a checkpoint is due; False if there are none."""
        first = self._reader.row + 1
        rows = self._reader.read(min(self._config.batch_size, self._rows_to_checkpoint()))
        self._source.require_unchanged()
        good: list[str] = []
        rejects: list[bytes] = []
        for number, values in enumerate(rows, start=first):
            if fault := self._check.fault(values):
                rejects.append(rejected_line(number, fault, values))
            else:
                good.append(self._encode(values))
        self._write(good, rejects)
        return bool(rows)

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether a checkpoint should be stored here."""
        return self._reader.row % self._config.checkpoint_interval == 0

    @property
    def progress(self) -> float:
        """How much of the input has been read, 0 to 1."""
        return self._reader.offset / self._source.size

    def __str__(self) -> str:
        return f"{self._reader.row:,} rows, {self._written:,} written, {self._rejected:,} rejected"

    def checkpoint(self) -> dict[str, Any]:
        """Make everything so far durable and return from where to go on."""
        self._output.sync()
        return Checkpoint(
            input=self._source.identity,
            offset=self._reader.offset,
            row=self._reader.row,
            written=self._written,
            rejected=self._rejected,
            output_bytes=self._output.rows.length,
            rejects_bytes=self._output.rejects.length,
        ).to_json()

    def finish(self) -> dict[str, Any]:
        """Put the files in their places and return the task's result."""
        self._output.rows.append(self._layout.end(empty=not self._written))
        self._output.publish()
        return {
            "rows": self._reader.row,
            "written": self._written,
            "rejected": self._rejected,
            "bytesRead": self._reader.offset,
            "outputPath": str(self._config.output_path),
            "format": self._layout.name,
            "rejectsPath": str(self._config.rejects) if self._rejected else None,
        }

    def _rows_to_checkpoint(self) -> int:
        interval = self._config.checkpoint_interval
        return interval - self._reader.row % interval

    def _write(self, good: list[str], rejects: list[bytes]) -> None:
        self._output.rows.append(self._layout.join(good, first=not self._written))
        self._output.rejects.append(b"".join(rejects))
        self._written += len(good)
        self._rejected += len(rejects)
