"""The command log records the course of each pause, resume and cancel."""

from collections.abc import Callable
from datetime import datetime

import pytest
from support.actions import AT_ONCE, REPORTS, dispatch, do
from support.builders import a_command, a_task, at, attempt_ref_of

from taskplane.server.core.command_log import CommandLogEntry, CommandState, entries
from taskplane.server.core.effect import Effect
from taskplane.server.core.limits import Expiry, expired
from taskplane.server.core.task import Task, TaskStatus, Verb

RUNNING, PAUSED = TaskStatus.RUNNING, TaskStatus.PAUSED
ISSUED, _, APPLIED, REJECTED, EXPIRED = CommandState
Deed = Callable[[Task, datetime], Effect]


def caller(verb: Verb, command_id: str, *, is_held: bool = False) -> Deed:
    return lambda task, now: do(verb, task, now, command_id=command_id, is_held=is_held)


def hear(name: str) -> Deed:
    return lambda task, now: REPORTS[name](task, attempt_ref_of(task), now)


def after(task: Task, *deeds: Deed) -> dict[str, CommandLogEntry]:
    """Apply all actions, a second apart, and return the last entry of each command."""
    found: dict[str, CommandLogEntry] = {}
    for seconds, deed in enumerate(deeds, 1):
        change = deed(task, at(seconds))
        found |= {entry.command_id: entry for entry in entries(task, change, at(seconds))}
        task = change.task
    return found


PAUSE, RESUME = caller(Verb.PAUSE, "pause"), caller(Verb.RESUME, "resume")
CANCEL = caller(Verb.CANCEL, "cancel", is_held=True)


def test_a_command_is_not_settled_before_it_was_accepted() -> None:
    accepted = a_command(Verb.PAUSE, accepted_at=at(9))
    task = a_task(RUNNING, pending_command=accepted)
    (entry,) = entries(task, hear("paused")(task, at(8)), at(8))
    assert (entry.accepted_at, entry.settled_at) == (at(9), at(9))


@pytest.mark.parametrize(
    ("status", "deeds", "states"),
    [
        (RUNNING, [PAUSE], {"pause": ISSUED}),
        (RUNNING, [PAUSE, hear("paused")], {"pause": APPLIED}),
        (RUNNING, [PAUSE, hear("lost")], {"pause": APPLIED}),
        (RUNNING, [PAUSE, hear("released")], {"pause": APPLIED}),
        (RUNNING, [PAUSE, hear("succeeded")], {"pause": EXPIRED}),
        (RUNNING, [PAUSE, hear("failed")], {"pause": EXPIRED}),
        (RUNNING, [PAUSE, hear("command rejected")], {"pause": REJECTED}),
        (RUNNING, [PAUSE, CANCEL], {"pause": EXPIRED, "cancel": ISSUED}),
        (RUNNING, [PAUSE, CANCEL, hear("cancelled")], {"pause": EXPIRED, "cancel": APPLIED}),
        (RUNNING, [CANCEL, hear("paused")], {"cancel": ISSUED}),
        (RUNNING, [CANCEL, hear("released")], {"cancel": APPLIED}),
        (RUNNING, [CANCEL, hear("succeeded")], {"cancel": EXPIRED}),
        (PAUSED, [CANCEL, hear("cancelled")], {"cancel": APPLIED}),
        (PAUSED, [CANCEL, hear("command rejected")], {"cancel": ISSUED}),
        (PAUSED, [CANCEL, hear("attempt unknown")], {"cancel": APPLIED}),
        (RUNNING, [CANCEL, hear("attempt unknown")], {"cancel": APPLIED}),
        (PAUSED, [RESUME], {"resume": ISSUED}),
        (PAUSED, [RESUME, dispatch], {"resume": APPLIED}),
        (PAUSED, [RESUME, PAUSE], {"resume": EXPIRED}),
        (PAUSED, [RESUME, CANCEL], {"resume": EXPIRED, "cancel": ISSUED}),
        (PAUSED, [RESUME, hear("cancelled")], {"resume": EXPIRED}),
    ],
)
def test_a_command_comes_as_far_as_its_effect(
    status: TaskStatus, deeds: list[Deed], states: dict[str, CommandState]
) -> None:
    found = after(a_task(status), *deeds)
    assert {command_id: entry.state for command_id, entry in found.items()} == states
    for entry in found.values():
        assert (entry.settled_at is None) == (entry.state is ISSUED)


def test_an_entry_says_who_asked_for_what_and_when() -> None:
    issued = after(a_task(RUNNING, attempt=4), PAUSE)["pause"]
    assert issued == CommandLogEntry("pause", 1, 4, Verb.PAUSE, ISSUED, "alice", "because", issued_at=at(1))
    resumed = after(a_task(PAUSED, attempt=4), RESUME)["resume"]
    assert resumed == CommandLogEntry("resume", 1, 5, Verb.RESUME, ISSUED, "alice", "because", issued_at=at(1))


def test_a_settled_entry_keeps_its_time_of_issue_and_the_outcome() -> None:
    entry = after(a_task(RUNNING), PAUSE, hear("command rejected"))["pause"]
    assert (entry.issued_at, entry.settled_at, entry.message) == (at(1), at(2), "NO")
    entry = after(a_task(RUNNING), PAUSE, CANCEL)["pause"]
    assert entry.message == "a cancel took its place"
    entry = after(a_task(RUNNING), PAUSE, hear("succeeded"))["pause"]
    assert entry.message == "the task became SUCCESS first"


def test_an_overdue_pause_notes_it_and_stays_issued() -> None:
    entry = after(a_task(RUNNING), PAUSE, lambda task, now: expired(task, at(60), AT_ONCE))["pause"]
    assert (entry.state, entry.message) == (ISSUED, Expiry.PAUSE_DEADLINE)


@pytest.mark.parametrize(
    ("status", "deed"),
    [(RUNNING, hear("checkpointed")), (RUNNING, hear("succeeded")), (PAUSED, caller(Verb.PAUSE, "a mere repeat"))],
)
def test_what_changes_no_command_makes_no_entry(status: TaskStatus, deed: Deed) -> None:
    assert after(a_task(status), deed) == {}
