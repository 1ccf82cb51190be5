"""The report on an attempt's end, by what its executor returned or raised."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from taskplane.unit.attempt import Attempt
from taskplane.unit.errors import Interrupted, TaskFailed, TaskReleased
from taskplane.unit.reports import cut, json_struct
from taskplane.v1.execution_unit_control_pb2 import CancelledReport, FailedReport, Report, SucceededReport

logger = logging.getLogger("taskplane.unit")

# The contract cuts an error here, and the history keeps so much of a reason.
_ERROR_LENGTH = 10_000
_REASON_LENGTH = 1000


def succeeded(result: Mapping[str, Any] | None) -> Report:
    """The attempt is done. A result that the task cannot hold is a TaskFailed: the next attempt would end the same."""
    try:
        return Report(succeeded=SucceededReport(result=None if result is None else json_struct(result, "result")))
    except (TypeError, ValueError) as error:
        raise TaskFailed(str(error)) from error


def failed(attempt: Attempt, error: BaseException) -> Report:
    """The attempt failed: in the executor's own words if it raised TaskFailed, else so that it may be tried again."""
    if not isinstance(error, TaskFailed):
        logger.warning("%s: the executor raised", attempt, exc_info=error)
        return Report(failed=FailedReport(message=cut(_describe(error), _ERROR_LENGTH)))
    try:
        checkpoint = None if error.checkpoint is None else attempt.number_checkpoint(error.checkpoint)
    except (TypeError, ValueError) as bad_checkpoint:
        return failed(attempt, bad_checkpoint)
    report = FailedReport(
        message=cut(error.message, _ERROR_LENGTH), not_retryable=not error.retryable, checkpoint=checkpoint
    )
    if error.retry_delay is not None:
        report.retry_delay.FromTimedelta(error.retry_delay)
    return Report(failed=report)


def interrupted(attempt: Attempt, error: BaseException | None) -> Report:
    """The attempt ended as it was told to, whatever the executor made of the interruption.

    The report on a dropped one is never sent, so it does not matter which it is.
    """
    message = ""
    if error is not None and not _is_interruption(error):
        logger.warning("%s: the executor raised while it was interrupted", attempt, exc_info=error)
        message = cut(f"clean-up failed: {_describe(error)}", _REASON_LENGTH)
    if attempt.interruption is TaskReleased:
        return attempt.released(message)
    return Report(cancelled=CancelledReport(message=message))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _is_interruption(error: BaseException) -> bool:
    kinds = (Interrupted, asyncio.CancelledError)
    if isinstance(error, BaseExceptionGroup):  # a task group passes it on in one
        return error.split(kinds)[1] is None
    return isinstance(error, kinds)
