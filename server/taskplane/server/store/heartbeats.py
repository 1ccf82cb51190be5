"""Heartbeats of connected units, stored for thousands of units in one statement every few seconds."""

from collections.abc import Sequence

from sqlalchemy import Connection

from taskplane.server.core.unit import Unit
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import BulkUpdate, ValueType
from taskplane.server.store.records import time_text

_CHANGED = {
    "status": ValueType.TEXT,
    "capacity": ValueType.INTEGER,
    "current_load": ValueType.INTEGER,
    "last_heartbeat": ValueType.TIME,
    "updated_at": ValueType.TIME,
}
_HEARTBEATS = BulkUpdate(
    "execution_units",
    {**_CHANGED, "id": ValueType.TEXT},
    {name: f"given.{name}" for name in _CHANGED},
    "execution_units.id = given.id",
)


def save_heartbeats(connection: Connection, units: Sequence[Unit]) -> None:
    """Store status, slots and last heartbeat of units; units that are not stored yet are ignored."""
    rows = [
        {
            "status": unit.status.value,
            "capacity": unit.capacity,
            "current_load": unit.current_load,
            "last_heartbeat": time_text(unit.last_heartbeat),
            "updated_at": time_text(unit.updated_at),
            "id": unit.id,
        }
        for unit in units
    ]
    dialect_of(connection).update_rows(connection, _HEARTBEATS, rows)
