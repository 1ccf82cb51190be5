"""The data processing unit: validates CSV files and converts them to JSON."""

from taskplane.unit import Unit
from taskplane.units.data_processing.config import DataProcessingConfig
from taskplane.units.data_processing.process import process
from taskplane.units.data_processing.rules import rule

__all__ = ["TASK_TYPE", "DataProcessingConfig", "process", "register", "rule"]

TASK_TYPE = "DATA_PROCESSING"


def register(unit: Unit) -> None:
    """Register the executor of DATA_PROCESSING tasks."""
    unit.task(TASK_TYPE, config=DataProcessingConfig)(process)
