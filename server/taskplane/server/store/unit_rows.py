"""Rows of units: conversion, writes, and heartbeats of thousands of units in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row

from taskplane.server.core.unit import DrainOrder, TaskTypeSupport, Unit, UnitStatus
from taskplane.server.store import schema
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import BulkUpdate, ValueType
from taskplane.server.store.records import aware, naive, stored_time, time_text

_LIVE_COLUMNS = {
    "status": ValueType.TEXT,
    "capacity": ValueType.INTEGER,
    "current_load": ValueType.INTEGER,
    "last_heartbeat": ValueType.TIME,
    "updated_at": ValueType.TIME,
}
_HEARTBEATS = BulkUpdate(
    "execution_units",
    {**_LIVE_COLUMNS, "id": ValueType.TEXT},
    {name: f"given.{name}" for name in _LIVE_COLUMNS},
    "execution_units.id = given.id",
)


def unit_of(row: Row[Any]) -> Unit:
    """Build a unit from a row of `execution_units`."""
    return Unit(
        id=row.id,
        unit_type=row.unit_type,
        unit_name=row.unit_name,
        status=UnitStatus(row.status),
        capacity=row.capacity,
        current_load=row.current_load,
        endpoint=row.endpoint,
        config=row.config or {},
        last_heartbeat=aware(row.last_heartbeat),
        created_at=stored_time(row.created_at),
        updated_at=stored_time(row.updated_at),
        task_types=_task_types_of(row.task_types or []),
        labels=row.labels or {},
        sdk=row.sdk or "",
        boot_id=row.boot_id or "",
        drain=DrainOrder(**row.drain) if row.drain else None,
    )


def save_units(connection: Connection, units: Sequence[Unit]) -> None:
    """Store units, new or changed."""
    table = schema.execution_units
    for unit in units:
        values = _values(unit)
        changed = connection.execute(table.update().where(table.c.id == unit.id).values(**values))
        if not changed.rowcount:
            connection.execute(table.insert().values(**values))


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


def _values(unit: Unit) -> dict[str, Any]:
    return {
        "id": unit.id,
        "unit_type": unit.unit_type,
        "unit_name": unit.unit_name,
        "status": unit.status.value,
        "capacity": unit.capacity,
        "current_load": unit.current_load,
        "endpoint": unit.endpoint,
        "config": dict(unit.config),
        "last_heartbeat": naive(unit.last_heartbeat),
        "created_at": naive(unit.created_at),
        "updated_at": naive(unit.updated_at),
        "task_types": [
            {"task_type": each.task_type, "can_pause": each.can_pause, "can_checkpoint": each.can_checkpoint}
            for each in unit.task_types.values()
        ],
        "labels": dict(unit.labels),
        "sdk": unit.sdk,
        "boot_id": unit.boot_id,
        "drain": asdict(unit.drain) if unit.drain else None,
    }


def _task_types_of(stored: list[dict[str, Any]]) -> Mapping[str, TaskTypeSupport]:
    return {each["task_type"]: TaskTypeSupport(**each) for each in stored}
