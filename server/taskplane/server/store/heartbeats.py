"""What changes of connected units by itself, for thousands of them in one statement every few seconds."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from taskplane.server.core.unit import Unit
from taskplane.server.store.records import time_text

_COLUMNS = ("status", "capacity", "current_load", "last_heartbeat", "updated_at")
_BY_ROW = f"UPDATE execution_units SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ?"  # noqa: S608
_FROM_JSON = (
    "UPDATE execution_units JOIN JSON_TABLE(%s, '$[*]' COLUMNS ("  # noqa: S608  (names of ours)
    "status VARCHAR(20) PATH '$[0]', capacity INT PATH '$[1]', current_load INT PATH '$[2]', "
    "last_heartbeat DATETIME(6) PATH '$[3]', updated_at DATETIME(6) PATH '$[4]', "
    "id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[5]')) AS heard "
    f"ON execution_units.id = heard.id SET {', '.join(f'execution_units.{name} = heard.{name}' for name in _COLUMNS)}"
)


def save_heartbeats(connection: Connection, units: Sequence[Unit]) -> None:
    """Store status, slots and last heartbeat of units; those that are not stored yet are passed over."""
    values = [
        (
            unit.status.value,
            unit.capacity,
            unit.current_load,
            time_text(unit.last_heartbeat),
            time_text(unit.updated_at),
            unit.id,
        )
        for unit in units
    ]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_BY_ROW, values)
    else:
        connection.exec_driver_sql(_FROM_JSON, (json.dumps(values, ensure_ascii=False),))
