"""Texts of callers add no line to the log for people, and never control the terminal."""

import logging

import pytest
from support.builders import NOW, a_task

from taskplane.server.core.task import TaskStatus, Transition
from taskplane.server.observability.logs import formatter
from taskplane.server.observability.transition_lines import transitions_record
from taskplane.server.tasks.unit_of_work import CommittedEvent

# A fake line of the log; a terminal's title; a bell; a C1 control; a line end of Unicode; text from right to left.
HOSTILE = [
    "alice\n2026-01-01T00:00:00Z [info     ] all is well",
    "alice\r[info     ] all is well",
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "alice\x07",
    "alice\x9b31m",
    "alice\u2028next",
    "alice\u202egnp",
    "alice\x00\x7f",
]


def assert_is_one_line(line: str) -> None:
    assert line.isprintable(), repr(line)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_transition_is_one_line(text: str) -> None:
    transition = Transition(1, TaskStatus.PENDING, TaskStatus.RUNNING, NOW, text, text, attempt=1, revision=7)
    task = a_task(TaskStatus.RUNNING, execution_unit_id=text)
    record = transitions_record([CommittedEvent(task, transition)])
    assert_is_one_line(formatter("console", has_colours=False).format(record))
    coloured = formatter("console", has_colours=True).format(record)
    assert text not in coloured
    assert "\n" not in coloured


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("style", ["console", "json"])
def test_any_other_record_is_one_line(text: str, style: str) -> None:
    record = logging.makeLogRecord(
        {
            "name": "a",
            "levelname": "INFO",
            "levelno": logging.INFO,
            "msg": "unit %s is gone",
            "args": (text,),
            "unit": text,
        }
    )
    line = formatter(style, has_colours=False).format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    if style == "console":
        assert_is_one_line(line)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_traceback_has_lines_that_are_none_of_the_logs(text: str) -> None:
    error = ValueError(text)
    info = (ValueError, error, None)
    record = logging.makeLogRecord(
        {"name": "a", "levelname": "ERROR", "levelno": logging.ERROR, "msg": "oh", "exc_info": info}
    )
    first, *others = formatter("console", has_colours=False).format(record).split("\n")
    assert_is_one_line(first)
    for line in others:
        assert_is_one_line(line)
        assert line.startswith("  ")


def test_texts_that_can_be_printed_stay_as_they_are() -> None:
    record = logging.makeLogRecord(
        {"name": "a", "levelname": "INFO", "levelno": logging.INFO, "msg": "Größe 视频处理", "unit": "視頻-1"}
    )
    line = formatter("console", has_colours=False).format(record)
    assert "Größe 视频处理" in line
    assert "unit=視頻-1" in line
