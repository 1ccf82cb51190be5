"""Units as JSON."""

from typing import Any

from taskplane.gateway.responses import in_json, object_schema, reference, schemas
from taskplane.server.core.unit import Unit
from taskplane.server.execution_units.manager import Intervals
from taskplane.server.rpc.messages import unit_message
from taskplane.v1 import execution_unit_pb2

_UNIT = schemas([execution_unit_pb2.ExecutionUnit])
_INTERVALS = {
    "heartbeatIntervalSeconds": {"type": "number", "description": "Time between two heartbeats."},
    "leaseSeconds": {"type": "number", "description": "After this time without a heartbeat, tasks are given away."},
}
UNIT_SCHEMAS: dict[str, Any] = _UNIT | {
    "RegisteredUnit": object_schema(
        _UNIT["ExecutionUnit"]["properties"] | _INTERVALS, "A unit as stored, and its intervals."
    ),
    "UnitPage": object_schema(
        {
            "items": {"type": "array", "items": reference("ExecutionUnit")},
            "total": {"type": "integer"},
            "page": {"type": "integer"},
            "limit": {"type": "integer"},
        },
        "A page of units, ordered by id.",
    ),
}


def unit_json(unit: Unit) -> dict[str, Any]:
    """Return a unit as JSON. The config comes from the record, so that whole numbers stay exact."""
    return in_json(unit_message(unit), config=unit.config)


def registered_unit_json(unit: Unit, intervals: Intervals) -> dict[str, Any]:
    """Return a unit as JSON, with the intervals that keep it alive."""
    return unit_json(unit) | {"heartbeatIntervalSeconds": intervals.heartbeat, "leaseSeconds": intervals.lease}
