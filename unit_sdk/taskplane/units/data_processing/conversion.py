"""The conversion of CSV rows to JSON rows and rejects, batch by batch."""

from typing import Any

from taskplane.units.data_processing.checkpoint import ConversionCheckpoint
from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.input_file import InputFile
from taskplane.units.data_processing.layout import layout_for, rejected_line, row_encoder
from taskplane.units.data_processing.output_files import OutputFiles
from taskplane.units.data_processing.reader import CsvReader
from taskplane.units.data_processing.row_check import RowCheck


class Conversion:
    """The progress of one attempt through the input. Between two calls, all three files end between two rows."""

    def __init__(self, config: DataProcessingConfig, source: InputFile, output: OutputFiles) -> None:
        """Start before the first row. Raises NotCsvError or MissingColumnError for a bad header."""
        self._config = config
        self._source = source
        self._output = output
        self._reader = CsvReader(source.file, delimiter=config.delimiter, encoding=config.encoding)
        self._check = RowCheck(self._reader.header, config.validation_rules, config.rule_options)
        self._encode = row_encoder(self._reader.header)
        self._layout = layout_for(config.output_path)
        self._written = 0
        self._rejected = 0

    def continue_from(self, checkpoint: ConversionCheckpoint | None) -> None:
        """Continue from `checkpoint`; begin from the start without one, or if the part files are missing.

        Part files are missing if the task moved to a machine with other disks, or if the process died between
        publishing the files and reporting the result. The same rows are written again, and only time is lost. `output`
        must be open.
        """
        if checkpoint:
            self._source.require_same(checkpoint.input)
        if checkpoint and self._output.cut(checkpoint.output_bytes, checkpoint.rejects_bytes):
            self._reader.seek(checkpoint.offset, checkpoint.row)
            self._written, self._rejected = checkpoint.written, checkpoint.rejected
        else:
            self._output.cut(0, 0)

    def convert_batch(self) -> bool:
        """Convert rows up to the end of a batch or the next checkpoint; return False at the end of the input."""
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
        """Whether a checkpoint must be stored here."""
        return self._reader.row % self._config.checkpoint_interval == 0

    @property
    def progress(self) -> float:
        """The fraction of the input that has been read, 0 to 1."""
        return self._reader.offset / self._source.size

    def __str__(self) -> str:
        return f"{self._reader.row:,} rows, {self._written:,} written, {self._rejected:,} rejected"

    def checkpoint(self) -> dict[str, Any]:
        """Make all written rows durable, and return the checkpoint."""
        self._output.sync()
        return ConversionCheckpoint(
            input=self._source.identity,
            offset=self._reader.offset,
            row=self._reader.row,
            written=self._written,
            rejected=self._rejected,
            output_bytes=self._output.rows.length,
            rejects_bytes=self._output.rejects.length,
        ).to_json()

    def finish(self) -> dict[str, Any]:
        """Publish the files and return the task's result."""
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
