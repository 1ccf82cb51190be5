"""Ownership of the tasks: one server decides about tasks, and every writing transaction checks the owner's epoch.

On MySQL and MariaDB the check is part of the message that ends with COMMIT; on SQLite, of the script that begins with
BEGIN IMMEDIATE. The check locks the owner row until the transaction ends. So no transaction of an older server commits
after a newer server has taken over.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from taskplane.server.core.clock import utc_now
from taskplane.server.store import schema
from taskplane.server.store.records import naive

# Name of the only owner row: its owner decides about all tasks.
PARTITION = "tasks"
# Maximal number of writing sessions of one server, including lost sessions that have not ended yet.
MOST_SESSIONS = 16
# An owner counts as alive for this time after its last renewal. For operators: a newer server does not wait.
LEASE = timedelta(seconds=10)

EPOCH_QUERY = f"SELECT epoch FROM owners WHERE name = '{PARTITION}'"  # noqa: S608  (a name of ours)


class TakenOver(Exception):
    """Another server has taken over the database, so this server must no longer write."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner row."""

    epoch: int
    instance: str
    address: str
    process: str
    renewed_at: datetime | None

    def __str__(self) -> str:
        heard = f", last renewed {self.renewed_at:%Y-%m-%d %H:%M:%S} UTC" if self.renewed_at else ""
        return f"the server at {self.address} ({self.process}, epoch {self.epoch}{heard})"


class Ownership:
    """The ownership as known to one server. Before the take-over the epoch is 0, which belongs to no server."""

    def __init__(self) -> None:
        # The name of a lock may have at most 64 characters.
        self.instance = secrets.token_hex(16)
        self.process = f"pid {os.getpid()} on {socket.gethostname()}"[:300]
        self.epoch = 0


def session_locks(instance: str) -> list[str]:
    """Return the names of the locks that identify the writing sessions of a server in the database."""
    return [f"taskplane-{instance}-{number}" for number in range(MOST_SESSIONS)]


def read_owner(connection: Connection) -> Owner:
    """Return the owner row, without a lock."""
    table = schema.owners
    row = connection.execute(select(table).where(table.c.name == PARTITION)).one()
    return Owner(row.epoch, row.instance, row.address, row.process, row.renewed_at)


def become_owner(connection: Connection, ownership: Ownership, address: str, before: Owner) -> bool:
    """Begin a new epoch, unless another server has begun one since `before` was read. Return whether it succeeded."""
    table = schema.owners
    now = utc_now()
    begin = table.update().where(table.c.name == PARTITION, table.c.epoch == before.epoch)
    changed = connection.execute(
        begin.values(
            epoch=before.epoch + 1,
            instance=ownership.instance,
            address=address,
            process=ownership.process,
            taken_at=naive(now),
            renewed_at=naive(now),
            lease_until=naive(now + LEASE),
        )
    )
    return bool(changed.rowcount)


def renew_lease(connection: Connection) -> None:
    """Renew the lease of the owner. The check in the transaction proves that this server is still the owner."""
    table = schema.owners
    now = utc_now()
    renewal = table.update().where(table.c.name == PARTITION)
    connection.execute(renewal.values(renewed_at=naive(now), lease_until=naive(now + LEASE)))
