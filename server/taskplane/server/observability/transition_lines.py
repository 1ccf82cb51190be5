"""Lines of the log for transitions: as structlog's renderers write them, in a tenth of their time.

A busy server writes thousands of these in a second, and next to nothing else. What one group commit has changed is
one record, formatted and written at once, with a line for each transition.
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

# The transition, its task's unit, and the time of the line.
Line = Callable[[Transition, str | None, str], str]


def transitions_record(committed: Sequence[CommittedEvent]) -> logging.LogRecord:
    """Return the one record of all transitions of a commit, which only TransitionFormatter can tell one by one."""
    record = logging.LogRecord(LOGGER, logging.INFO, "", 0, "%d transitions", (len(committed),), None)
    record.__dict__["committed"] = committed
    return record


class TransitionFormatter(logging.Formatter):
    """Writes the records of transitions itself, and leaves all others to another formatter."""

    def __init__(self, line: Line, others: logging.Formatter) -> None:
        super().__init__()
        self._line = line
        self._others = others

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line or lines."""
        committed: Sequence[CommittedEvent] | None = record.__dict__.get("committed")
        if committed is None:
            return self._others.format(record)
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
    """Return a transition for people, without colours."""
    return (
        f"{at} [info     ] {_event(transition):<30} [{LOGGER}] attempt={transition.attempt}"
        f" by={_legible(transition.changed_by)} reason={_legible(transition.reason)}"
        f" task_id={transition.task_id} unit_id={_legible(unit_id)}"
    ).rstrip(" ")


def line_by(others: logging.Formatter) -> Line:
    """Return the slow way to a line, by a formatter of usual records."""

    def line(transition: Transition, unit_id: str | None, at: str) -> str:
        told: dict[str, Any] = {
            "task_id": transition.task_id,
            "attempt": transition.attempt,
            "unit_id": unit_id,
            "by": transition.changed_by,
            "reason": transition.reason,
        }
        head = {"name": LOGGER, "levelname": "INFO", "levelno": logging.INFO, "msg": _event(transition)}
        return others.format(logging.makeLogRecord(head | told))

    return line


def _event(transition: Transition) -> str:
    return f"{transition.from_status or 'new'} -> {transition.to_status}"


@lru_cache(maxsize=1024)  # units and reasons come back
def _legible(value: str | None) -> str:
    return escaped(value) if value is not None and QUOTED.isdisjoint(value) else repr(value)
