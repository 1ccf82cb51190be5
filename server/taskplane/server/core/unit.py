"""The execution unit, and its registration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.task import Json, task_type_problem

# Characters of a unit's id: with the prefix "unit:", the id must fit into the 255 of a transition's `changed_by`.
MAX_UNIT_ID = 250
# The maximum number of task types that a unit may name.
MAX_TASK_TYPES = 1000


def unit_id_problem(unit_id: str) -> str | None:
    """Return the problem with a unit's id, or None: databases and HTTP paths must distinguish ids."""
    if unit_id != unit_id.strip():
        return "begins or ends with a space"
    if "/" in unit_id or unit_id in {".", ".."}:
        return 'must be one part of a path: without "/", and neither "." nor ".."'
    return None


class UnitStatus(StrEnum):
    """The availability of a unit for work; see taskplane/v1/execution_unit.proto."""

    AVAILABLE = "AVAILABLE"
    BUSY = "BUSY"
    OFFLINE = "OFFLINE"


@dataclass(frozen=True, slots=True)
class TaskTypeSupport:
    """The capabilities of a unit for tasks of one type."""

    task_type: str
    can_pause: bool = False
    can_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """An operator's order to drain a unit, within `timeout_seconds` if set."""

    timeout_seconds: float | None = None
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The record of a unit; the fields are those of taskplane.v1.ExecutionUnit. All times are UTC."""

    id: str
    unit_type: str
    unit_name: str
    status: UnitStatus = UnitStatus.OFFLINE
    capacity: int = 1
    current_load: int = 0
    endpoint: str | None = None
    config: Json = field(default_factory=dict)
    last_heartbeat: datetime | None = None
    created_at: datetime
    updated_at: datetime
    task_types: Mapping[str, TaskTypeSupport] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    session_id: str = ""
    # The process that was last connected; empty if unknown.
    boot_id: str = ""
    sdk: str = ""
    # The operator's drain order for the process. A unit driven over HTTP stays away after the drain.
    drain: DrainOrder | None = None

    def accepts(self, task_type: str) -> bool:
        """Return whether the unit runs tasks of this type; without named types, it runs all."""
        return not self.task_types or task_type in self.task_types

    def can_pause(self, task_type: str) -> bool:
        """Return whether the unit can pause tasks of this type; without named types, it can pause all."""
        support = self.task_types.get(task_type)
        return support.can_pause if support else not self.task_types

    def can_checkpoint(self, task_type: str) -> bool:
        """Return whether the unit makes and uses checkpoints of this type; without named types, of all types."""
        support = self.task_types.get(task_type)
        return support.can_checkpoint if support else not self.task_types


class AttemptState(StrEnum):
    """The state of an attempt at its unit."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """One entry of a unit's inventory."""

    task_id: int
    attempt: int
    state: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The registration of a unit without a stream; see RegisterUnitRequest.

    Missing task types are read from `config.taskTypes`, a list of names. Without both, the unit accepts every type.
    """

    unit_id: str = ""
    unit_type: str
    unit_name: str
    capacity: int = 1
    endpoint: str
    config: Json = field(default_factory=dict)
    task_types: Mapping[str, TaskTypeSupport] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def accepted_task_types(self) -> Mapping[str, TaskTypeSupport]:
        """Return the accepted types; empty: every type. Types given by name only can be paused and make checkpoints.

        Raises InvalidFields if `config.taskTypes` is not a list of names.
        """
        if self.task_types:
            return self.task_types
        if "taskTypes" not in self.config:
            return {}
        names = self.config["taskTypes"]
        if not isinstance(names, list) or not names or not all(isinstance(each, str) and each for each in names):
            raise InvalidFields(FieldViolation("config.taskTypes", "must be a list of names of task types"))
        if len(names) > MAX_TASK_TYPES:
            many = f"has {len(names)} entries; at most {MAX_TASK_TYPES} are allowed"
            raise InvalidFields(FieldViolation("config.taskTypes", many))
        problems = [(index, task_type_problem(each)) for index, each in enumerate(names)]
        if bad := [FieldViolation(f"config.taskTypes[{index}]", each) for index, each in problems if each]:
            raise InvalidFields(*bad)
        return {each: TaskTypeSupport(each, can_pause=True, can_checkpoint=True) for each in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message of a unit; see the proto of the same name."""

    unit_id: str
    boot_id: str
    unit_type: str
    unit_name: str
    capacity: int
    task_types: Mapping[str, TaskTypeSupport]
    labels: Mapping[str, str]
    sdk: str
    inventory: tuple[HeldAttempt, ...] = ()
