"""The executor of DATA_PROCESSING tasks: what happens to the work when the task is paused, cancelled, taken away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskplane.unit import SyncTaskContext, TaskCancelled, TaskFailed
from taskplane.units.data_processing.checkpoint import Checkpoint
from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.conversion import Conversion
from taskplane.units.data_processing.failures import file_failure
from taskplane.units.data_processing.input_file import InputFile
from taskplane.units.data_processing.output import Output
from taskplane.units.data_processing.reader import NotCsvError
from taskplane.units.data_processing.row_check import MissingColumnError


def process(task: SyncTaskContext, config: DataProcessingConfig) -> dict[str, Any]:
    """Convert the CSV file to JSON; the result counts rows and names the files.

    The output is the same, byte for byte, however often the task is interrupted: each good row once, in order.
    """
    checkpoint = Checkpoint.from_json(task.checkpoint) if task.checkpoint else None
    output = Output(config, task.task_id)
    with _tidy_end(output), _failures_in_words(config), InputFile(config.input_path) as source:
        conversion = Conversion(config, source, output)
        output.open()
        conversion.go_to(checkpoint)
        while conversion.convert_batch():
            with output.at_rest():
                _tell(task, conversion)
        return conversion.finish()


def _tell(task: SyncTaskContext, conversion: Conversion) -> None:
    # Between two stored checkpoints one is made only if the task is stopped here: it costs an fsync.
    checkpoint = conversion.checkpoint() if conversion.checkpoint_is_due else conversion.checkpoint
    task.report(progress=conversion.progress, message=str(conversion), checkpoint=checkpoint)


@contextmanager
def _tidy_end(output: Output) -> Iterator[None]:
    """Remove the part files if nobody will go on with them; keep them when paused, given back, lost or retried."""
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
def _failures_in_words(config: DataProcessingConfig) -> Iterator[None]:
    try:
        yield
    except NotCsvError as error:
        raise file_failure("inputPath", config.input_path, str(error)) from error
    except MissingColumnError as error:
        raise TaskFailed(str(error), retryable=False) from error
