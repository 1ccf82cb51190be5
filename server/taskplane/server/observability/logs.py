"""Logs: structured, on standard error, one INFO line for each transition."""

import logging
import sys
from collections.abc import Sequence

import structlog

from taskplane.server.tasks.batch import Committed

log = logging.getLogger("taskplane.transitions")


def configure(level: str, style: str) -> None:
    """Send the logs of all libraries to standard error, as lines for people (`console`) or JSON (`json`)."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: structlog.types.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if style == "console":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            last,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Alembic tells of each start of its context; the migrations themselves are told by our own lines.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def log_transitions(committed: Sequence[Committed]) -> None:
    """Tell of each change of status. A listener of the group commit."""
    if not log.isEnabledFor(logging.INFO):
        return
    for event in committed:
        if transition := event.transition:
            log.info(
                "%s -> %s",
                transition.from_status or "new",
                transition.to_status,
                extra={
                    "task_id": transition.task_id,
                    "attempt": transition.attempt,
                    "unit_id": event.task.execution_unit_id,
                    "by": transition.changed_by,
                    "reason": transition.reason,
                },
            )
