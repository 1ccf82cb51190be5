"""Log lines of transitions: the output of structlog's renderers, in a tenth of the time.

A busy server writes thousands of these lines per second. The transitions of one group commit are one log record, with
a line for each.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any

from taskplane.server.core.task import Transition
from taskplane.server.observability.control_characters import QUOTED, escaped
from taskplane.server.tasks.unit_of_work import CommittedEvent

LOGGER = "taskplane.transitions"

# Formats a transition, the unit id of its task, and the time.
Line = Callable[[Transition, str | None, str], str]


def transitions_record(committed: Sequence[CommittedEvent]) -> logging.LogRecord:
    """Return one record for all transitions of a commit, which TransitionFormatter writes line by line."""
    record = logging.LogRecord(LOGGER, logging.INFO, "", 0, "%d transitions", (len(committed),), None)
    record.__dict__["committed"] = committed
    return record


class TransitionFormatter(logging.Formatter):
    """Formats records of transitions, and all other records by a fallback formatter."""

    def __init__(self, line: Line, fallback: logging.Formatter) -> None:
        super().__init__()
        self._line = line
        self._fallback = fallback

    def format(self, record: logging.LogRecord) -> str:
        """Return the line or lines of a record."""
        committed: Sequence[CommittedEvent] | None = record.__dict__.get("committed")
        if committed is None:
            return self._fallback.format(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        return "\n".join(
            [self._line(each.transition, each.task.execution_unit_id, at) for each in committed if each.transition]
        )


def json_line(transition: Transition, unit_id: str | None, at: str) -> str:
    """Return a transition as JSON."""
    return (
        f'{{"event": "{_event(transition)}", "level": "info", "logger": "{LOGGER}", "timestamp": "{at}",'
        f' "task_id": {transition.task_id}, "attempt": {transition.attempt},'
        f' "unit_id": {"null" if unit_id is None else quoted(unit_id)},'
        f' "by": {quoted(transition.changed_by)}, "reason": {quoted(transition.reason)}}}'
    )


def plain_line(transition: Transition, unit_id: str | None, at: str) -> str:
    """Return a transition as text without colours."""
    return (
        f"{at} [info     ] {_event(transition):<30} [{LOGGER}] attempt={transition.attempt}"
        f" by={_escaped_or_quoted(transition.changed_by)} reason={_escaped_or_quoted(transition.reason)}"
        f" task_id={transition.task_id} unit_id={_escaped_or_quoted(unit_id)}"
    ).rstrip(" ")


def line_by(fallback: logging.Formatter) -> Line:
    """Return a slower formatter of transitions, which uses a formatter of records."""

    def line(transition: Transition, unit_id: str | None, at: str) -> str:
        fields: dict[str, Any] = {
            "task_id": transition.task_id,
            "attempt": transition.attempt,
            "unit_id": unit_id,
            "by": transition.changed_by,
            "reason": transition.reason,
        }
        head = {"name": LOGGER, "levelname": "INFO", "levelno": logging.INFO, "msg": _event(transition)}
        return fallback.format(logging.makeLogRecord(head | fields))

    return line


def _event(transition: Transition) -> str:
    return f"{transition.from_status or 'new'} -> {transition.to_status}"


@lru_cache(maxsize=1024)  # units and reasons repeat
def _escaped_or_quoted(value: str | None) -> str:
    return escaped(value) if value is not None and QUOTED.isdisjoint(value) else repr(value)
