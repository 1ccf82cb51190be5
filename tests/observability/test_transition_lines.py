"""The quick lines of transitions equal those of structlog."""

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.builders import NOW, a_task

from taskplane.server.core.task import TaskStatus, Transition
from taskplane.server.observability.logs import formatter, log_transitions
from taskplane.server.observability.transition_lines import json_line, line_by, plain_line
from taskplane.server.tasks.unit_of_work import CommittedEvent

AT = "2026-01-02T03:04:05.678901Z"
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", " ", "a b", 'say "hi"', "a=b", "ü\n\x1b"]
)

transitions = st.builds(
    Transition,
    task_id=st.integers(1, 2**63),
    from_status=st.none() | st.sampled_from(TaskStatus),
    to_status=st.sampled_from(TaskStatus),
    changed_at=st.just(NOW),
    changed_by=TEXTS,
    reason=TEXTS,
    attempt=st.integers(0, 9),
)
A_START = Transition(1, TaskStatus.PENDING, TaskStatus.RUNNING, NOW, "alice", "because", attempt=1, revision=7)


@given(transitions, st.none() | TEXTS)
@example(A_START, "unit-1")
def test_a_json_line_is_that_of_structlog(transition: Transition, unit_id: str | None) -> None:
    slow = line_by(formatter("json", has_colours=False))(transition, unit_id, AT)
    assert json_line(transition, unit_id, AT) == _at_one_time(slow)


@given(transitions, st.none() | TEXTS)
@example(A_START, "unit-1")
def test_a_line_for_people_is_that_of_structlog(transition: Transition, unit_id: str | None) -> None:
    slow = line_by(formatter("console", has_colours=False))(transition, unit_id, AT)
    assert plain_line(transition, unit_id, AT) == _at_one_time(slow)


@pytest.mark.parametrize("style", ["json", "console"])
def test_each_transition_of_a_commit_has_its_line(style: str, written: io.StringIO) -> None:
    _write_to(written, formatter(style, has_colours=False))
    log_transitions([_committed(1), CommittedEvent(a_task()), _committed(2)])
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert all("PENDING -> RUNNING" in line for line in lines)
    assert [re.search(r'task_id(?:": |=)(\d)', line)[1] for line in lines] == ["1", "2"]  # type: ignore[index]


def test_a_terminal_has_colours_for_transitions(written: io.StringIO) -> None:
    _write_to(written, formatter("console", has_colours=True))
    log_transitions([_committed(1), _committed(2)])
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert all("\x1b[" in line for line in lines)


def test_other_records_are_left_to_structlog(written: io.StringIO) -> None:
    _write_to(written, formatter("json", has_colours=False))
    logging.getLogger("taskplane.transitions").info("something else")
    assert '"event": "something else"' in written.getvalue()


def test_nothing_is_logged_of_changes_that_leave_the_status(written: io.StringIO) -> None:
    _write_to(written, formatter("json", has_colours=False))
    log_transitions([CommittedEvent(a_task())])
    assert not written.getvalue()


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    log = logging.getLogger("taskplane.transitions")
    before, level = log.handlers[:], log.level
    log.setLevel(logging.INFO)
    yield io.StringIO()
    log.handlers[:] = before
    log.setLevel(level)


def _write_to(stream: io.StringIO, lines: logging.Formatter) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(lines)
    logging.getLogger("taskplane.transitions").addHandler(handler)


def _committed(task_id: int) -> CommittedEvent:
    return CommittedEvent(a_task(TaskStatus.RUNNING, id=task_id), replace(A_START, task_id=task_id))


def _at_one_time(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", AT, line, count=1)
