"""The outgoing half of a unit's stream: order, merging and end."""

import asyncio

import pytest
from support.builders import a_command, a_task

from taskplane.server.core.command import Dispatch, Welcome, control_command, dispatch_command, drop_command
from taskplane.server.core.errors import DropReason, ServerStopping, SessionSuperseded
from taskplane.server.core.task import TaskStatus, Verb
from taskplane.server.core.unit import DrainOrder
from taskplane.server.execution_units.links.stream import Ack, Outgoing, StreamLink

WELCOME = Welcome("unit-1", "session-1", 5.0, 30.0, ())
TASK = a_task(TaskStatus.RUNNING)
START, RESUME = dispatch_command(Dispatch(TASK)), dispatch_command(Dispatch(a_task(TaskStatus.RUNNING, id=2), None, 1))
PAUSE = control_command(a_task(TaskStatus.RUNNING, id=4), a_command(Verb.PAUSE))
DROP = drop_command(3, 1, DropReason.CANCELLED)


@pytest.fixture
def link() -> StreamLink:
    return StreamLink()


@pytest.fixture
async def open_link(link: StreamLink) -> StreamLink:
    """Return a link with a queued welcome."""
    link.welcome(WELCOME)
    await link.next()
    return link


async def test_the_welcome_comes_before_anything_that_was_said_earlier(link: StreamLink) -> None:
    link.send([START])
    link.acknowledge(1)
    writing = asyncio.create_task(link.next())
    await asyncio.sleep(0)  # the writer finds nothing to send
    assert not writing.done()
    link.welcome(WELCOME)
    assert await writing == Outgoing(WELCOME, [START], Ack(1, 0))


async def test_the_welcome_comes_once(open_link: StreamLink) -> None:
    open_link.send([START])
    assert (await open_link.next()).welcome is None


async def test_control_goes_ahead_of_starts_and_each_kind_keeps_its_order(open_link: StreamLink) -> None:
    open_link.send([START, PAUSE])
    open_link.send([RESUME, DROP])
    assert (await open_link.next()).commands == [PAUSE, DROP, START, RESUME]


async def test_acknowledgements_merge_and_never_go_back(open_link: StreamLink) -> None:
    open_link.acknowledge(3)
    open_link.acknowledge(7)
    open_link.acknowledge(5)
    open_link.acknowledge_heartbeat(2)
    assert await open_link.next() == Outgoing(ack=Ack(7, 2))
    open_link.acknowledge(6)
    open_link.acknowledge_heartbeat(1)
    assert await open_link.next() == Outgoing(ack=Ack(7, 2))


async def test_what_has_gone_out_does_not_go_out_again(open_link: StreamLink) -> None:
    open_link.send([START])
    open_link.acknowledge(1)
    open_link.request_drain(DrainOrder(10.0))
    assert await open_link.next() == Outgoing(None, [START], Ack(1, 0), DrainOrder(10.0))
    open_link.send([PAUSE])
    assert await open_link.next() == Outgoing(None, [PAUSE])


async def test_an_error_ends_the_stream_at_once_and_the_first_one_counts(open_link: StreamLink) -> None:
    open_link.send([START])
    open_link.end(SessionSuperseded("a newer session has come"))
    open_link.end(ServerStopping())
    with pytest.raises(SessionSuperseded):
        await open_link.next()


async def test_an_error_ends_a_stream_that_was_never_welcomed(link: StreamLink) -> None:
    writing = asyncio.create_task(link.next())
    await asyncio.sleep(0)  # the writer waits
    link.end(ServerStopping())
    with pytest.raises(ServerStopping):
        await writing
