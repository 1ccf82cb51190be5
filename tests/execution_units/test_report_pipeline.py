"""The report pipeline: reports are submitted as they arrive, and acknowledged in order when durable."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from support.builders import NOW, PATIENCE_SECONDS, a_task, a_unit

from taskplane.server.core.command import Welcome, drop_command
from taskplane.server.core.errors import (
    DatabaseUnavailable,
    DropReason,
    InvalidFields,
    ServerStopping,
    StaleAttempt,
    TaskNotFound,
)
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.tuning import Tuning
from taskplane.server.core.unit_report import Accepted, Cancelled, Paused, Report, ReportKind, Succeeded
from taskplane.server.execution_units import report_pipeline
from taskplane.server.execution_units.links.stream import CONGESTED_COMMANDS, StreamLink
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.report_pipeline import ReportPipeline
from taskplane.server.execution_units.session import Session
from taskplane.server.store.store import Store
from taskplane.server.tasks.group_commit import GroupCommit
from taskplane.server.tasks.mutations import ChangeTask
from taskplane.server.tasks.progress_cache import ProgressCache
from taskplane.server.tasks.state_manager import TaskStateManager
from taskplane.server.tasks.watch import WatchHub

TASK = a_task(TaskStatus.RUNNING)
DONE = Succeeded(None)


class ScriptedCommits:
    """A group commit that completes at the command of the test."""

    def __init__(self) -> None:
        # Task ids in order of submission, and the open results.
        self.proposed: list[int] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.has_heard = asyncio.Event()

    def submit(self, proposal: ChangeTask) -> "asyncio.Future[Any]":
        self.proposed.append(proposal.task_id)
        self.has_heard.set()
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def answer(self, outcome: Exception | None = None, *, count: int = 0) -> None:
        """Complete the oldest submissions, by default all."""
        answered = self.answers[: count or None]
        del self.answers[: count or None]
        for each in answered:
            if outcome:
                each.set_exception(outcome)
            else:
                each.set_result(TASK)


@pytest.fixture
def commits() -> ScriptedCommits:
    return ScriptedCommits()


@pytest.fixture
def registry() -> Registry:
    return Registry([a_unit("unit-1")])


@pytest.fixture
def report_handler(commits: ScriptedCommits, registry: Registry, store: Store) -> ReportHandler:
    states = TaskStateManager(cast("GroupCommit", commits), retry_policy=cast("Any", None))
    return ReportHandler(states, ProgressCache(store), WatchHub(), registry)


@pytest.fixture
def tuning() -> Tuning:
    """Submit again without a wait."""
    return Tuning(report_retry_seconds=0.0)


@pytest.fixture
async def line(
    session: Session, link: StreamLink, report_handler: ReportHandler, tuning: Tuning
) -> AsyncIterator[ReportPipeline]:
    line = ReportPipeline(session, link, report_handler, tuning)
    yield line
    line.close()


@pytest.fixture
async def running(line: ReportPipeline) -> AsyncIterator[None]:
    """Submit failed reports again without a wait."""
    running = asyncio.create_task(line.run())
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def a_report(sequence: int, kind: ReportKind = DONE, *, about: str = "start") -> Report:
    """Return a report on the task whose id is the sequence."""
    return Report(sequence, sequence, 1, f"{about}-{sequence}-1", NOW, kind)


async def acknowledged(link: StreamLink) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        outgoing = await link.next()
    assert outgoing.ack
    return outgoing.ack.sequence


async def nothing_goes_out(link: StreamLink) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await link.next()


async def proposed(commits: ScriptedCommits, count: int) -> list[int]:
    """Wait for a number of submissions since the start; return all."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(commits.proposed) < count:
            commits.has_heard.clear()
            await commits.has_heard.wait()
    return commits.proposed


async def test_reports_come_one_after_another(line: ReportPipeline) -> None:
    line.check_sequence(1)
    line.check_sequence(2)
    for wrong in (2, 4, 0, -1):
        with pytest.raises(InvalidFields) as refusal:
            line.check_sequence(wrong)
        assert [each.field for each in refusal.value.violations] == ["reports.sequence"]
    line.check_sequence(3)


async def test_reports_of_one_moment_are_proposed_together_and_in_order(
    line: ReportPipeline, commits: ScriptedCommits
) -> None:
    for sequence in (1, 2, 3):
        line.add(a_report(sequence))
    assert commits.proposed == [1, 2, 3]


async def test_reports_are_acknowledged_in_order_when_they_are_durable(
    line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    for sequence in (1, 2, 3):
        line.add(a_report(sequence))
    first, second, third = commits.answers
    second.set_result(TASK)
    await nothing_goes_out(link)
    first.set_result(TASK)
    assert await acknowledged(link) == 2
    third.set_result(TASK)
    assert await acknowledged(link) == 3


async def test_what_is_only_heard_is_acknowledged_at_once_but_not_before_its_turn(
    line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    line.add(a_report(1, Accepted(), about="pause"))
    assert await acknowledged(link) == 1
    line.add(a_report(2))
    line.add(a_report(3, Accepted(), about="pause"))
    await nothing_goes_out(link)
    commits.answer()
    assert await acknowledged(link) == 3
    assert commits.proposed == [2]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StaleAttempt(1, 1, DropReason.FINISHED), DropReason.FINISHED), (TaskNotFound(1), DropReason.DELETED)],
)
async def test_a_report_of_no_consequence_is_settled_too_and_its_attempt_dropped(
    error: Exception, reason: DropReason, line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    line.add(a_report(1, Paused(None, None)))
    commits.answer(error)
    async with asyncio.timeout(PATIENCE_SECONDS):
        outgoing = await link.next()
    assert outgoing.ack
    assert outgoing.ack.sequence == 1
    assert [each.command_id for each in outgoing.commands] == ["drop-1-1"]
    assert [each.order.reason for each in outgoing.commands] == [reason]  # type: ignore[union-attr]  # a drop


async def test_in_an_outage_reports_wait_and_are_proposed_again_in_order(
    running: None, line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    for sequence in (1, 2, 3, 4):
        line.add(a_report(sequence))
    commits.answer(count=1)
    commits.answer(DatabaseUnavailable(), count=2)
    commits.answer(count=1)
    assert await acknowledged(link) == 1
    assert await proposed(commits, 6) == [1, 2, 3, 4, 2, 3]
    await nothing_goes_out(link)
    commits.answer(DatabaseUnavailable())
    assert (await proposed(commits, 8))[6:] == [2, 3]
    commits.answer()
    assert await acknowledged(link) == 4


async def test_what_comes_in_an_outage_does_not_overtake_what_waits(
    running: None, line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    line.add(a_report(1))
    line.add(a_report(2))
    commits.answer(DatabaseUnavailable(), count=1)
    await asyncio.sleep(0)  # the pipeline waits for the second result
    line.add(a_report(3))
    line.add(a_report(4, Accepted(), about="pause"))
    await nothing_goes_out(link)
    assert commits.proposed == [1, 2]
    commits.answer(DatabaseUnavailable())
    assert await proposed(commits, 5) == [1, 2, 1, 2, 3]
    commits.answer()
    assert await acknowledged(link) == 4


async def test_what_is_only_heard_is_heard_in_an_outage_too(
    line: ReportPipeline, commits: ScriptedCommits, registry: Registry
) -> None:
    unit = registry.find("unit-1")
    assert unit
    registry.slots.assignments.started(a_task(TaskStatus.RUNNING, id=2, execution_unit_id="unit-1", accepted_at=None))
    line.add(a_report(1))
    commits.answer(DatabaseUnavailable())
    await asyncio.sleep(0)
    line.add(a_report(2, Accepted()))
    assert unit.running[2].accepted


@pytest.mark.parametrize("error", [ServerStopping(), RuntimeError("a fault of ours")])
async def test_a_report_that_cannot_be_settled_ends_the_session_and_is_not_acknowledged(
    error: Exception, line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    line.add(a_report(1))
    line.add(a_report(2))
    commits.answer(error, count=1)
    commits.answer()
    with pytest.raises(type(error)):
        await line.run()
    await nothing_goes_out(link)


async def test_a_session_that_ends_forgets_its_reports_whatever_becomes_of_them(
    line: ReportPipeline, link: StreamLink, commits: ScriptedCommits, caplog: pytest.LogCaptureFixture
) -> None:
    for sequence in (1, 2, 3):
        line.add(a_report(sequence, Cancelled("")))
    failed, waiting = commits.answers[1:]
    failed.set_exception(ServerStopping())
    line.close()
    assert not waiting.cancelled(), "what a unit has said counts"
    waiting.set_exception(ServerStopping())
    del failed, waiting
    commits.answers.clear()
    await nothing_goes_out(link)
    assert not caplog.records


async def test_a_session_that_ends_in_an_outage_proposes_nothing_more(
    running: None, line: ReportPipeline, commits: ScriptedCommits
) -> None:
    line.add(a_report(1))
    commits.answer(DatabaseUnavailable())
    await asyncio.sleep(0)
    line.close()
    await asyncio.sleep(0.02)
    assert commits.proposed == [1]


async def test_a_heartbeat_is_answered_with_what_is_durable_so_far(
    line: ReportPipeline, link: StreamLink, commits: ScriptedCommits
) -> None:
    line.add(a_report(1))
    line.add(a_report(2))
    commits.answer(count=1)
    assert await acknowledged(link) == 1
    link.acknowledge_heartbeat(5)
    outgoing = await link.next()
    assert outgoing.ack
    assert (outgoing.ack.sequence, outgoing.ack.heartbeat) == (1, 5)


@pytest.mark.parametrize("tuning", [Tuning(max_unacknowledged=1, unread_seconds=0.001)])
async def test_the_time_in_which_a_unit_is_not_read_is_no_silence_of_its(
    line: ReportPipeline,
    commits: ScriptedCommits,
    registry: Registry,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count()
    forgiven = asyncio.Event()
    unit = registry.find("unit-1")
    assert unit
    registry.attach_session(unit, session)
    heard_at = unit.heard_at

    def clock() -> int:
        if unit.heard_at >= heard_at + 3:
            forgiven.set()
        return next(seconds)

    monkeypatch.setattr(report_pipeline, "monotonic", clock)
    line.add(a_report(1))
    room = asyncio.create_task(line.wait_for_room())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await forgiven.wait()
    assert not room.done(), "its lease is made longer while it waits, not only afterwards"
    commits.answer()
    await room


@pytest.mark.parametrize("tuning", [Tuning(max_unacknowledged=2)])
async def test_a_unit_that_reports_faster_than_commits_is_not_read_further(
    line: ReportPipeline, commits: ScriptedCommits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sequence in (1, 2):
        await line.wait_for_room()
        line.add(a_report(sequence))
    room = asyncio.create_task(line.wait_for_room())
    await asyncio.sleep(0)  # there is no room
    assert not room.done()
    commits.answer(count=1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await room


@pytest.mark.parametrize("tuning", [Tuning(unread_seconds=0.0)])
async def test_reports_of_a_unit_that_does_not_read_are_not_read_either_and_that_is_its_silence(
    line: ReportPipeline, link: StreamLink, report_handler: ReportHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgiven: list[float] = []
    monkeypatch.setattr(report_handler, "extend_lease", lambda _session, seconds: forgiven.append(seconds))
    link.welcome(Welcome("unit-1", "session-1", 5.0, 30.0, ()))
    link.send([drop_command(task_id, 1, DropReason.DELETED) for task_id in range(1, CONGESTED_COMMANDS + 1)])
    waiting = asyncio.create_task(line.wait_for_room())
    await asyncio.sleep(0.01)  # long enough for many checks
    assert not waiting.done()
    assert forgiven == []
    assert len((await link.next()).commands) == CONGESTED_COMMANDS
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def test_an_error_that_comes_after_its_reporter_has_gone_is_not_logged(
    session: Session, report_handler: ReportHandler, commits: ScriptedCommits, caplog: pytest.LogCaptureFixture
) -> None:
    settling = asyncio.create_task(report_handler.handle(session, a_report(1)))
    await proposed(commits, 1)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    commits.answer(StaleAttempt(1, 1, DropReason.FINISHED))
    del settling
    await asyncio.sleep(0)
    gc.collect()
    assert [each.name for each in caplog.records if each.levelname == "ERROR"] == []
