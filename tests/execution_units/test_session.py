"""A session sends each command once, and accepts work between its welcome and a drain."""

import gc
import weakref

from support.builders import a_command, a_task

from taskplane.server.core.clock import monotonic
from taskplane.server.core.command import Dispatch, StartOrder, control_command, dispatch_command, drop_command
from taskplane.server.core.errors import DropReason
from taskplane.server.core.task import TaskStatus, Verb
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.execution_units.session import MAX_DROPS, Session

FIRST, SECOND = (dispatch_command(Dispatch(a_task(TaskStatus.RUNNING, id=task_id))) for task_id in (1, 2))


async def test_a_command_is_sent_once_until_it_is_answered(session: Session, link: StreamLink) -> None:
    session.deliver([FIRST])
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST, SECOND]
    session.mark_answered(FIRST.command_id)
    session.deliver([FIRST, SECOND])
    assert (await link.next()).commands == [FIRST]


async def test_a_pause_that_is_not_answered_is_sent_again(session: Session, link: StreamLink) -> None:
    pause = control_command(a_task(TaskStatus.RUNNING, id=3), a_command(Verb.PAUSE))
    session.deliver([FIRST, pause])
    assert (await link.next()).commands == [pause, FIRST]
    session.resend_unanswered(sent_before=monotonic() - 60)
    session.resend_unanswered(sent_before=monotonic() + 60)
    session.resend_unanswered(sent_before=monotonic() - 60)
    assert (await link.next()).commands == [pause], "a start is given to another unit instead"
    session.mark_answered(pause.command_id)
    session.resend_unanswered(sent_before=monotonic() + 60)
    session.deliver([SECOND])
    assert (await link.next()).commands == [SECOND]


async def test_nothing_is_sent_again_for_an_attempt_that_is_over(session: Session, link: StreamLink) -> None:
    task = a_task(TaskStatus.RUNNING, id=3)
    pause = control_command(task, a_command(Verb.PAUSE, "pause"))
    cancel = control_command(task, a_command(Verb.CANCEL, "cancel"))
    session.deliver([FIRST, dispatch_command(Dispatch(task)), pause, cancel])
    await link.next()
    session.attempt_paused((3, 1))
    session.resend_unanswered(sent_before=monotonic() + 60)
    assert (await link.next()).commands == [cancel], "a paused attempt can be cancelled"
    session.attempt_ended((3, 1))
    session.resend_unanswered(sent_before=monotonic() + 60)
    session.deliver([SECOND])
    assert (await link.next()).commands == [SECOND]
    assert session.unanswered == 2
    for task_id in (1, 2):
        session.attempt_ended((task_id, 1))
    assert session.unanswered == 0


async def test_what_is_not_answered_is_kept_without_its_config(session: Session, link: StreamLink) -> None:
    start = dispatch_command(Dispatch(a_task(TaskStatus.RUNNING)))
    order = weakref.ref(start.order.dispatch.task) if isinstance(start.order, StartOrder) else None
    session.deliver([start])
    del start
    await link.next()
    gc.collect()
    assert order
    assert order() is None
    assert session.unanswered == 1


async def test_drops_that_are_never_answered_are_forgotten_some_day(session: Session) -> None:
    session.deliver(drop_command(number, 1, DropReason.FINISHED) for number in range(MAX_DROPS + 50))
    assert session.unanswered == MAX_DROPS
    session.mark_answered(f"drop-{MAX_DROPS}-1")
    assert session.unanswered == MAX_DROPS - 1


async def test_a_session_takes_work_between_its_welcome_and_its_draining(session: Session) -> None:
    assert not session.accepts_work
    session.set_flags(welcomed=True)
    assert session.accepts_work
    session.set_flags(is_responsive=False)
    assert not session.accepts_work
    session.set_flags(is_responsive=True)
    session.set_flags(draining=True)
    assert not session.accepts_work
