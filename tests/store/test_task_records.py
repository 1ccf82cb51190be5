"""Records of a task: history, checkpoints and commands."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from support.builders import a_checkpoint, a_task, at
from support.stored import in_transaction, insert

from taskplane.server.core.command_log import CommandLogEntry, CommandState
from taskplane.server.core.task import Checkpoint, TaskStatus, Transition, Verb
from taskplane.server.store import schema
from taskplane.server.store.driver_errors import AlreadyStored
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

CREATED = Transition(1, None, TaskStatus.PENDING, at(1), "alice 🦆", "because; 'quoted' \\", attempt=0, revision=1)
DISPATCHED = Transition(1, TaskStatus.PENDING, TaskStatus.RUNNING, at(2), "taskplane", "", attempt=1, revision=5)
OF_ANOTHER = replace(CREATED, task_id=2, revision=3)
ENTRY = CommandLogEntry("command-1", 1, 1, Verb.PAUSE, CommandState.ISSUED, "alice", "because", issued_at=at(1))


async def checkpoints(store: Store, *pairs: tuple[int, Checkpoint], keep: int = 3) -> None:
    def work(transaction: WriteTransaction) -> None:
        transaction.insert_checkpoints(pairs)
        transaction.prune_checkpoints({task_id for task_id, _ in pairs}, keep)

    await in_transaction(store, work)


async def history(store: Store, *transitions: Transition) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_transitions(transitions))


async def commands(store: Store, *entries: CommandLogEntry) -> None:
    await in_transaction(store, lambda transaction: transaction.save_commands(entries))


@pytest.fixture
async def two_tasks(store: Store) -> None:
    await insert(store, a_task(id=1), a_task(id=2))


@pytest.mark.usefixtures("two_tasks")
async def test_a_history_is_returned_oldest_first(store: Store) -> None:
    await history(store, DISPATCHED, OF_ANOTHER, CREATED)
    assert await store.list_transitions(1, after_revision=0, limit=10) == [CREATED, DISPATCHED]
    assert await store.list_transitions(1, after_revision=0, limit=1) == [CREATED]
    assert await store.list_transitions(1, after_revision=1, limit=10) == [DISPATCHED]
    assert await store.list_transitions(3, after_revision=0, limit=10) == []


@pytest.mark.usefixtures("two_tasks")
async def test_the_history_of_many_is_in_the_order_of_commits(store: Store) -> None:
    await history(store, DISPATCHED, OF_ANOTHER, CREATED)
    assert await store.transitions_since(0, task_ids=(), limit=10) == [CREATED, OF_ANOTHER, DISPATCHED]
    assert await store.transitions_since(1, task_ids=(), limit=1) == [OF_ANOTHER]
    assert await store.transitions_since(0, task_ids=(2, 99), limit=10) == [OF_ANOTHER]


@pytest.mark.usefixtures("two_tasks")
async def test_a_revision_is_unique(store: Store) -> None:
    await history(store, CREATED)
    with pytest.raises(AlreadyStored):
        await history(store, replace(OF_ANOTHER, revision=CREATED.revision))


async def test_a_history_without_its_task_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError):
        await history(store, CREATED)


@pytest.mark.usefixtures("two_tasks")
async def test_the_last_checkpoints_are_kept_newest_first(store: Store) -> None:
    await checkpoints(store, *((1, a_checkpoint(number)) for number in (1, 2, 9, 10)), (2, a_checkpoint(7)))
    assert await store.list_checkpoints(1) == [a_checkpoint(10), a_checkpoint(9), a_checkpoint(2)]
    await checkpoints(store, (1, a_checkpoint(11)), keep=1)
    assert await store.list_checkpoints(1) == [a_checkpoint(11)]
    assert await store.list_checkpoints(2) == [a_checkpoint(7)], "another task's are not touched"


@pytest.mark.usefixtures("two_tasks")
async def test_a_checkpoint_is_found_by_its_number(store: Store) -> None:
    odd = a_checkpoint(2**40, attempt=9, data={"row": 1, "text": "🦆\\'", "nothing": None})
    await checkpoints(store, (1, odd))
    assert await store.get_checkpoint(1, 2**40) == odd
    assert await store.get_checkpoint(1, 1) is None
    assert await store.get_checkpoint(2, 2**40) is None
    assert await in_transaction(store, lambda transaction: transaction.checkpoint(1, 2**40)) == odd


@pytest.mark.usefixtures("two_tasks")
async def test_checkpoints_of_several_tasks_are_found_together(store: Store) -> None:
    await checkpoints(store, (1, a_checkpoint(1)), (1, a_checkpoint(2)), (2, a_checkpoint(5)))
    found = await in_transaction(store, lambda transaction: transaction.checkpoints({1: 1, 2: 4}))
    assert found == {1: a_checkpoint(1)}, "a number belongs to its task"
    assert await in_transaction(store, lambda transaction: transaction.checkpoints({})) == {}


@pytest.mark.usefixtures("two_tasks")
async def test_commands_are_returned_newest_first(store: Store) -> None:
    newer = replace(ENTRY, command_id="command-0", verb=Verb.CANCEL, issued_at=at(2))
    await commands(store, ENTRY, newer, replace(ENTRY, command_id="command-2", task_id=2))
    assert await store.list_commands(1, before=None, limit=10) == [newer, ENTRY]
    assert await store.list_commands(1, before=(newer.issued_at, newer.command_id), limit=10) == [ENTRY]
    assert await store.list_commands(1, before=None, limit=1) == [newer]


@pytest.mark.usefixtures("two_tasks")
async def test_pages_of_commands_repeat_and_skip_none_while_others_are_added(store: Store) -> None:
    at_once = [replace(ENTRY, command_id=f"at once {number}") for number in range(5)]
    await commands(store, *at_once)
    found = []
    before = None
    while page := await store.list_commands(1, before=before, limit=2):
        found += page
        before = page[-1].issued_at, page[-1].command_id
        await commands(store, replace(ENTRY, command_id=f"later {len(found)}", issued_at=at(2)))
    assert found == at_once[::-1]


@pytest.mark.usefixtures("two_tasks")
async def test_a_later_state_of_a_command_replaces_the_earlier(store: Store) -> None:
    accepted = replace(ENTRY, state=CommandState.ACCEPTED, accepted_at=at(2))
    applied = replace(accepted, state=CommandState.APPLIED, settled_at=at(3), message="paused 🦆")
    await commands(store, ENTRY)
    await commands(store, accepted, applied)
    assert await store.list_commands(1, before=None, limit=10) == [applied]


async def test_deleting_a_task_deletes_its_records_and_nothing_else(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1), a_task(id=2))
    await history(store, CREATED, OF_ANOTHER)
    await checkpoints(store, (1, a_checkpoint(1)), (2, a_checkpoint(1)))
    await commands(store, ENTRY, replace(ENTRY, command_id="command-2", task_id=2))
    await in_transaction(store, lambda transaction: transaction.delete_tasks([1]))
    assert await store.get_task(1) is None
    assert await store.get_task(2) == a_task(id=2)
    with engine.connect() as connection:
        for table in (schema.task_status_history, schema.task_checkpoints, schema.task_commands):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1, table.name
