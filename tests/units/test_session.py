"""A session: commands once, and work between its welcome and its draining."""

from builders import a_command, a_task

from taskplane.server.core.clock import monotonic
from taskplane.server.core.command import control_command, dispatch_command
from taskplane.server.core.dispatch import Dispatch
from taskplane.server.core.task import TaskStatus, Verb
from taskplane.server.units.links.stream import StreamLink
from taskplane.server.units.session import Session

FIRST, SECOND = (dispatch_command(Dispatch(a_task(TaskStatus.RUNNING, id=task_id))) for task_id in (1, 2))


async def test_a_command_is_sent_once_until_it_is_answered(session: Session, link: StreamLink) -> None:
    session.deliver([FIRST])
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST, SECOND]
    session.answered(FIRST.command_id)
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST]


async def test_a_pause_that_is_not_answered_is_sent_again(session: Session, link: StreamLink) -> None:
    pause = control_command(a_task(TaskStatus.RUNNING, id=3), a_command(Verb.PAUSE))
    session.deliver([FIRST, pause])
    assert (await link.next()).commands == [pause, FIRST]
    session.send_again(sent_before=monotonic() - 60)
    session.send_again(sent_before=monotonic() + 60)
    session.send_again(sent_before=monotonic() - 60)
    assert (await link.next()).commands == [pause], "a start is given to another unit instead"
    session.answered(pause.command_id)
    session.send_again(sent_before=monotonic() + 60)
    session.deliver([SECOND])
    assert (await link.next()).commands == [SECOND]


async def test_a_session_takes_work_between_its_welcome_and_its_draining(session: Session) -> None:
    assert not session.takes_work
    session.mark(welcomed=True)
    assert session.takes_work
    session.mark(is_answering=False)
    assert not session.takes_work
    session.mark(is_answering=True)
    session.mark(draining=True)
    assert not session.takes_work
