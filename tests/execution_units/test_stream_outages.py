"""Reports during an outage of the database, with the real group commit: none is lost, none overtakes another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.builders import ALICE, NOW, a_checkpoint, a_spec
from support.connected_unit import ConnectedUnit

from taskplane.server.core.command import Command
from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.tuning import Tuning
from taskplane.server.core.unit_report import Accepted, CheckpointMade, Report, ReportKind, Succeeded
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.report_pipeline import ReportPipeline
from taskplane.server.store.pending_transaction import PendingTransaction
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction
from taskplane.server.tasks.state_manager import TaskStateManager

SLOTS = 3


class Outage:
    """Make the database unavailable for a number of transactions."""

    def __init__(self) -> None:
        self.transactions_left = 0
        self.was_noticed = asyncio.Event()


@pytest.fixture
async def unit(connect: Callable[..., Awaitable[ConnectedUnit]]) -> ConnectedUnit:
    return await connect(capacity=SLOTS)


@pytest.fixture
async def line(unit: ConnectedUnit, report_handler: ReportHandler) -> AsyncIterator[ReportPipeline]:
    """Run the report pipeline of the unit's stream."""
    line = ReportPipeline(unit.session, unit.link, report_handler, Tuning(report_retry_seconds=0.01))
    running = asyncio.create_task(line.run())
    yield line
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    line.close()


@pytest.fixture
async def starts(unit: ConnectedUnit, states: TaskStateManager) -> list[Command]:
    await states.create([a_spec(start=True)] * SLOTS, ALICE)
    return await unit.hears(SLOTS)


@pytest.fixture
def outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> Outage:
    outage = Outage()
    begin = store.begin

    def fail(_: WriteTransaction) -> None:
        raise DatabaseUnavailable

    def attempted(decide: Callable[[WriteTransaction], object]) -> PendingTransaction[object]:
        if outage.transactions_left:
            outage.transactions_left -= 1
            outage.was_noticed.set()
            return begin(fail)
        return begin(decide)

    monkeypatch.setattr(store, "begin", attempted)
    return outage


def reports(start: Command, first: int, *kinds: ReportKind) -> list[Report]:
    """Return numbered reports on one attempt."""
    return [
        Report(sequence, start.task_id, start.attempt, start.command_id, NOW, kind)
        for sequence, kind in enumerate(kinds, first)
    ]


async def all_acknowledged(unit: ConnectedUnit, sequence: int) -> list[int]:
    """Wait until all reports are acknowledged; return all acknowledgements."""
    heard = [0]
    while heard[-1] < sequence:
        if ack := (await unit.next()).ack:
            heard.append(ack.sequence)
    return heard


async def test_an_outage_in_the_middle_loses_nothing(
    unit: ConnectedUnit,
    line: ReportPipeline,
    starts: list[Command],
    store: Store,
    outage: Outage,
) -> None:
    sequence = 1
    for number, start in enumerate(starts):
        for report in reports(start, sequence, Accepted(), CheckpointMade(a_checkpoint()), Succeeded({"n": number})):
            line.add(report)
            # Let a transaction begin, so that the reports of one task are in several transactions.
            await asyncio.sleep(0)
            sequence += 1
        if number == 0:
            outage.transactions_left = 3
    acknowledged = await all_acknowledged(unit, sequence - 1)
    assert acknowledged == sorted(acknowledged)
    for number, start in enumerate(starts):
        task = await store.get_task(start.task_id)
        assert task
        assert (task.status, task.result) == (TaskStatus.SUCCESS, {"n": number})
        assert task.checkpoint, "what was reported before the end was not overtaken by it"


async def test_a_session_that_ends_in_the_middle_of_an_outage_leaves_the_attempt_as_it_was(
    unit: ConnectedUnit, line: ReportPipeline, starts: list[Command], store: Store, outage: Outage
) -> None:
    outage.transactions_left = 1000
    line.add(*reports(starts[0], 1, Succeeded(None)))
    await outage.was_noticed.wait()
    line.close()
    outage.transactions_left = 0
    await unit.says(starts[1], Succeeded(None))
    first, second = [await store.get_task(start.task_id) for start in starts[:2]]
    assert first
    assert second
    assert (first.status, second.status) == (TaskStatus.RUNNING, TaskStatus.SUCCESS)
