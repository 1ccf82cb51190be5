"""Error reasons that clients and units act on, and the details of an error. Free of gRPC, for the server's core."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Reasons (google.rpc.ErrorInfo.reason) that the other end of a connection acts on."""

    ILLEGAL_TRANSITION = "ILLEGAL_TRANSITION"
    UNIT_CANNOT_PAUSE = "UNIT_CANNOT_PAUSE"
    STALE_REVISION = "STALE_REVISION"
    COMMAND_PENDING = "COMMAND_PENDING"
    SLOW_READER = "SLOW_READER"
    SESSION_SUPERSEDED = "SESSION_SUPERSEDED"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path in the request, such as `task.priority`, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """The details of an error. `retry_delay` is in seconds, None if the server names none."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_delay: float | None = None
