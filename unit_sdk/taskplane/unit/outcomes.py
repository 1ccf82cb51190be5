"""The final report of an attempt, from the value or the exception of its executor."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from taskplane.unit.attempt import Attempt
from taskplane.unit.errors import Interrupted, TaskFailed, TaskReleased
from taskplane.unit.reports import json_struct, truncate
from taskplane.v1.execution_unit_control_pb2 import CancelledReport, FailedReport, Report, SucceededReport

logger = logging.getLogger("taskplane.unit")

# Characters that the server stores of an error, and of a reason in the history.
_ERROR_LENGTH = 10_000
_REASON_LENGTH = 1000


def succeeded(result: Mapping[str, Any] | None) -> Report:
    """Return the report of a success. Raises TaskFailed for a result that cannot be stored: a retry would not help."""
    try:
        return Report(succeeded=SucceededReport(result=None if result is None else json_struct(result, "result")))
    except (TypeError, ValueError) as error:
        raise TaskFailed(str(error)) from error


def failed(attempt: Attempt, error: BaseException) -> Report:
    """Return the report of a failure: as TaskFailed says, and retryable for any other exception."""
    if not isinstance(error, TaskFailed):
        logger.warning("%s: the executor raised", attempt, exc_info=error)
        return Report(failed=FailedReport(message=truncate(_describe(error), _ERROR_LENGTH)))
    try:
        checkpoint = None if error.checkpoint is None else attempt.number_checkpoint(error.checkpoint)
    except (TypeError, ValueError) as bad_checkpoint:
        return failed(attempt, bad_checkpoint)
    report = FailedReport(
        message=truncate(error.message, _ERROR_LENGTH), not_retryable=not error.retryable, checkpoint=checkpoint
    )
    if error.retry_delay is not None:
        report.retry_delay.FromTimedelta(error.retry_delay)
    return Report(failed=report)


def interrupted(attempt: Attempt, error: BaseException | None) -> Report:
    """Return the report of an interrupted attempt: released or cancelled, also if the executor raised another error.

    A dropped attempt is muted, so the kind of its report has no effect.
    """
    message = ""
    if error is not None and not _is_interruption(error):
        logger.warning("%s: the executor raised while it was interrupted", attempt, exc_info=error)
        message = truncate(f"clean-up failed: {_describe(error)}", _REASON_LENGTH)
    if attempt.interruption is TaskReleased:
        return attempt.released_report(message)
    return Report(cancelled=CancelledReport(message=message))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _is_interruption(error: BaseException) -> bool:
    kinds = (Interrupted, asyncio.CancelledError)
    if isinstance(error, BaseExceptionGroup):  # a task group wraps the interruption
        return error.split(kinds)[1] is None
    return isinstance(error, kinds)
