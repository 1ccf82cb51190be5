"""Units as callers get them, and what units are told; made without validation, as all answers."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from taskplane.gateway.schema import Moment, Schema
from taskplane.gateway.unit_requests import SupportedTaskType, UnitStatusName
from taskplane.server.core.unit import Unit
from taskplane.server.execution_units.manager import Intervals


class UnitAnswer(Schema):
    """A process that runs tasks."""

    id: str
    unit_type: str
    unit_name: str
    status: UnitStatusName
    capacity: int
    current_load: Annotated[int, Field(description="RUNNING tasks that are assigned to it.")]
    endpoint: Annotated[str | None, Field(description="Null for a unit on the gRPC stream.")]
    config: dict[str, Any]
    last_heartbeat: Moment | None
    created_at: Moment
    updated_at: Moment
    task_types: list[SupportedTaskType]
    labels: dict[str, str]
    draining: bool

    @classmethod
    def of(cls, unit: Unit, **more: Any) -> Self:
        """Build it from the core's."""
        return cls.model_construct(
            id=unit.id,
            unit_type=unit.unit_type,
            unit_name=unit.unit_name,
            status=unit.status.value,
            capacity=unit.capacity,
            current_load=unit.current_load,
            endpoint=unit.endpoint,
            config=dict(unit.config),
            last_heartbeat=unit.last_heartbeat,
            created_at=unit.created_at,
            updated_at=unit.updated_at,
            task_types=[
                SupportedTaskType.model_construct(
                    task_type=each.task_type, can_pause=each.can_pause, can_checkpoint=each.can_checkpoint
                )
                for each in unit.task_types.values()
            ],
            labels=dict(unit.labels),
            draining=unit.draining,
            **more,
        )


class RegisteredUnitAnswer(UnitAnswer):
    """A unit as it was stored, and how it stays alive."""

    heartbeat_interval_seconds: Annotated[float, Field(description="Send a heartbeat this often.")]
    lease_seconds: Annotated[float, Field(description="After so long a silence its tasks are given away.")]

    @classmethod
    def of_registered(cls, unit: Unit, intervals: Intervals) -> Self:
        """Build it from the core's."""
        return cls.of(unit, heartbeat_interval_seconds=intervals.heartbeat, lease_seconds=intervals.lease)


class UnitPageAnswer(Schema):
    """A page of units, by id."""

    items: list[UnitAnswer]
    total: int
    page: int
    limit: int

    @classmethod
    def of(cls, found: Sequence[Unit], *, page: int, limit: int) -> Self:
        """Build it from all units that were found."""
        begin = (page - 1) * limit
        items = [UnitAnswer.of(unit) for unit in found[begin : begin + limit]]
        return cls.model_construct(items=items, total=len(found), page=page, limit=limit)
