"""Structured logs on standard error, with one INFO line for each transition."""

import logging
import sys
from collections.abc import Sequence

import structlog

from taskplane.server.observability.control_characters import escape_all
from taskplane.server.observability.transition_lines import (
    LOGGER,
    TransitionFormatter,
    json_line,
    line_by,
    plain_line,
    transitions_record,
)
from taskplane.server.tasks.unit_of_work import CommittedEvent

log = logging.getLogger(LOGGER)


def configure(level: str, style: str) -> None:
    """Send the logs of all libraries to standard error, as lines for people (`console`) or JSON (`json`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(style, has_colours=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # No format contains these fields, and collecting them is a third of the cost of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Alembic logs each start of its context; the server logs the migrations itself.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def formatter(style: str, *, has_colours: bool) -> logging.Formatter:
    """Return the formatter of a style."""
    if style == "json":
        return TransitionFormatter(json_line, _processors(structlog.processors.JSONRenderer(ensure_ascii=False)))
    fallback = _processors(escape_all, structlog.dev.ConsoleRenderer(colors=has_colours))
    return TransitionFormatter(line_by(fallback) if has_colours else plain_line, fallback)


def _processors(*renderers: structlog.types.Processor) -> logging.Formatter:
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderers,
        ],
    )


def log_transitions(committed: Sequence[CommittedEvent]) -> None:
    """Log each transition; a listener of the group commit."""
    if log.isEnabledFor(logging.INFO) and (changed := [each for each in committed if each.transition]):
        log.handle(transitions_record(changed))
