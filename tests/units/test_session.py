"""A session: commands once, reports in their sequence, acknowledged in their order when they are durable."""

import asyncio

import pytest
from builders import PATIENCE_SECONDS, a_task

from taskplane.server.core.command import Welcome, dispatch_command
from taskplane.server.core.dispatch import Dispatch
from taskplane.server.core.errors import DatabaseUnavailable, DropReason, InvalidFields
from taskplane.server.core.task import TaskStatus
from taskplane.server.units import session as sessions
from taskplane.server.units.links.stream import StreamLink
from taskplane.server.units.session import Session

FIRST, SECOND = (dispatch_command(Dispatch(a_task(TaskStatus.RUNNING, id=task_id))) for task_id in (1, 2))


@pytest.fixture
async def link() -> StreamLink:
    link = StreamLink()
    link.welcome(Welcome("unit-1", "session-1", 5.0, 30.0, ()))
    await link.next()
    return link


@pytest.fixture
def session(link: StreamLink) -> Session:
    return Session("session-1", "unit-1", "boot-1", link)


def a_report() -> "asyncio.Future[DropReason | None]":
    return asyncio.get_running_loop().create_future()


async def acknowledged(link: StreamLink) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        outgoing = await link.next()
    assert outgoing.ack
    return outgoing.ack.sequence


async def test_a_command_is_sent_once_until_it_is_answered(session: Session, link: StreamLink) -> None:
    session.deliver([FIRST])
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST, SECOND]
    session.answered(FIRST.command_id)
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST]


async def test_a_session_takes_work_between_its_welcome_and_its_draining(session: Session) -> None:
    assert not session.takes_work
    session.welcomed = True
    assert session.takes_work
    session.is_answering = False
    assert not session.takes_work
    session.is_answering = True
    session.draining = True
    assert not session.takes_work


async def test_reports_come_one_after_another(session: Session) -> None:
    session.check_sequence(1)
    session.check_sequence(2)
    for wrong in (2, 4, 0, -1):
        with pytest.raises(InvalidFields) as refusal:
            session.check_sequence(wrong)
        assert [each.field for each in refusal.value.violations] == ["reports.sequence"]
    session.check_sequence(3)


async def test_reports_are_acknowledged_in_order_when_they_are_durable(session: Session, link: StreamLink) -> None:
    settled = [a_report() for _ in range(3)]
    acknowledging = asyncio.create_task(session.acknowledge())
    for sequence, each in enumerate(settled, 1):
        await session.track(sequence, each)
    settled[1].set_result(None)
    settled[0].set_result(DropReason.FINISHED)  # a report of no consequence is settled too
    assert await acknowledged(link) == 2
    settled[2].set_result(None)
    assert await acknowledged(link) == 3
    acknowledging.cancel()


async def test_a_report_that_cannot_be_settled_ends_the_session(session: Session) -> None:
    failed = a_report()
    failed.set_exception(DatabaseUnavailable())
    await session.track(1, failed)
    with pytest.raises(DatabaseUnavailable):
        await session.acknowledge()


async def test_a_heartbeat_is_answered_with_what_is_durable_so_far(session: Session, link: StreamLink) -> None:
    durable, waiting = a_report(), a_report()
    durable.set_result(None)
    await session.track(1, durable)
    await session.track(2, waiting)
    acknowledging = asyncio.create_task(session.acknowledge())
    assert await acknowledged(link) == 1
    session.heartbeat(5)
    outgoing = await link.next()
    assert outgoing.ack
    assert (outgoing.ack.sequence, outgoing.ack.heartbeat) == (1, 5)
    acknowledging.cancel()


async def test_a_unit_that_reports_faster_than_commits_is_not_read_further(
    link: StreamLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_UNACKNOWLEDGED", 2)
    session = Session("session-1", "unit-1", "boot-1", link)
    first = a_report()
    for sequence, each in ((1, first), (2, a_report())):
        await session.track(sequence, each)
    third = asyncio.create_task(session.track(3, a_report()))
    await asyncio.sleep(0)  # it finds no room
    assert not third.done()
    acknowledging = asyncio.create_task(session.acknowledge())
    first.set_result(None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await third
    acknowledging.cancel()
