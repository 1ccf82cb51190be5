"""The executor of DATA_PROCESSING tasks, with its behaviour on pause, cancel and loss of the attempt."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskplane.unit import SyncTaskContext, TaskCancelled, TaskFailed
from taskplane.units.data_processing.checkpoint import ConversionCheckpoint
from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.conversion import Conversion
from taskplane.units.data_processing.failures import file_failure
from taskplane.units.data_processing.input_file import InputFile
from taskplane.units.data_processing.output_files import OutputFiles
from taskplane.units.data_processing.reader import NotCsvError
from taskplane.units.data_processing.row_check import MissingColumnError


def process(task: SyncTaskContext, config: DataProcessingConfig) -> dict[str, Any]:
    """Convert the CSV file to JSON, and return counts of rows and the file names.

    The output is the same, byte for byte, however often the task is interrupted: each good row once, in order.
    """
    checkpoint = ConversionCheckpoint.from_json(task.checkpoint) if task.checkpoint else None
    output = OutputFiles(config, task.task_id)
    with _clean_up(output), _input_failures(config), InputFile(config.input_path) as source:
        conversion = Conversion(config, source, output)
        output.open()
        conversion.continue_from(checkpoint)
        while conversion.convert_batch():
            with output.unlocked():
                _report(task, conversion)
        return conversion.finish()


def _report(task: SyncTaskContext, conversion: Conversion) -> None:
    # Between two stored checkpoints, a checkpoint is made only if the task stops here: each one costs an fsync.
    checkpoint = conversion.checkpoint() if conversion.checkpoint_is_due else conversion.checkpoint
    task.report(progress=conversion.progress, message=str(conversion), checkpoint=checkpoint)


@contextmanager
def _clean_up(output: OutputFiles) -> Iterator[None]:
    """Remove the part files unless another attempt may continue them (after a pause, release, loss or retry)."""
    try:
        yield
    except TaskCancelled:
        output.discard()
        raise
    except TaskFailed as failure:
        if not failure.retryable:
            output.discard()
        raise
    finally:
        output.close()


@contextmanager
def _input_failures(config: DataProcessingConfig) -> Iterator[None]:
    try:
        yield
    except NotCsvError as error:
        raise file_failure("inputPath", config.input_path, str(error)) from error
    except MissingColumnError as error:
        raise TaskFailed(str(error), retryable=False) from error
