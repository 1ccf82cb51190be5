"""Tasks put into a store by hand, past the state manager, and connections cut: for tests of what lies below."""

from sqlalchemy import Connection, Engine, text

from taskplane.server.core.task import Task
from taskplane.server.store.store import Store
from taskplane.server.store.writing import WriteTransaction


async def insert(store: Store, *tasks: Task) -> None:
    """Store new tasks, in one transaction."""
    await store.transaction(lambda transaction: transaction.insert_tasks(tasks))


async def update(store: Store, *tasks: Task) -> None:
    """Lock tasks and store them as they are given, in one transaction."""

    def work(transaction: WriteTransaction) -> None:
        transaction.lock_tasks(task.id for task in tasks)
        transaction.update_tasks(tasks)

    await store.transaction(work)


def kill(engine: Engine, connection: Connection) -> None:
    """Cut a connection at the database's end, as a restart or a firewall does."""
    number = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    with engine.connect() as killer:
        killer.execute(text(f"KILL CONNECTION {number}"))
