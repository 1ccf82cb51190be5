"""Helpers for tests below the state manager: tasks stored directly, and killed connections."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from sqlalchemy import Engine, text

from taskplane.server.core.task import Task
from taskplane.server.core.unit import Unit
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

T = TypeVar("T")


async def in_transaction(store: Store, decide: Callable[[WriteTransaction], T]) -> T:
    """Begin a transaction and wait until it is durable."""
    pending = store.begin(decide)
    try:
        return await pending.durable()
    finally:
        pending.published()


async def stored_unit(store: Store, unit_id: str) -> Unit | None:
    """Return a unit as last stored."""
    return next((unit for unit in await store.all_units() if unit.id == unit_id), None)


async def insert(store: Store, *tasks: Task) -> None:
    """Store new tasks, in one transaction."""
    await in_transaction(store, lambda transaction: transaction.insert_tasks(tasks))


async def update(store: Store, *tasks: Task) -> None:
    """Load tasks and store the given versions, in one transaction."""

    def work(transaction: WriteTransaction) -> None:
        transaction.load_tasks(task.id for task in tasks)
        transaction.update_tasks(tasks)

    await in_transaction(store, work)


@contextmanager
def before_commit(act: Callable[[WriteTransaction], None]) -> Iterator[None]:
    """Act right before the COMMIT of the next transaction, in the greenlet of the transaction."""
    commit = WriteTransaction.commit
    came: list[WriteTransaction] = []

    def act_and_commit(transaction: WriteTransaction) -> None:
        if not came:
            came.append(transaction)
            act(transaction)
        commit(transaction)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WriteTransaction, "commit", act_and_commit)
        yield
    assert came


def kill(engine: Engine, transaction: WriteTransaction) -> None:
    """Kill a transaction's session, as a restart of the database does."""
    number = transaction._connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    with engine.connect() as killer:
        killer.execute(text(f"KILL CONNECTION {number}"))
