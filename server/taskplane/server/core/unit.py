"""The execution unit, and what it says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.task import Json, task_type_problem

# Characters of a unit's id: with "unit:" before it, it must fit into the 255 of a transition's `changed_by`.
MAX_UNIT_ID = 250
# Task types that a unit may name.
MAX_TASK_TYPES = 1000


def unit_id_problem(unit_id: str) -> str | None:
    """Say what is wrong with an id that a unit has chosen, if anything: databases and HTTP paths must tell it apart."""
    if unit_id != unit_id.strip():
        return "begins or ends with a space"
    if "/" in unit_id or unit_id in {".", ".."}:
        return 'must be one part of a path: without "/", and neither "." nor ".."'
    return None


class UnitStatus(StrEnum):
    """Whether a unit can be given work; see taskplane/v1/execution_unit.proto."""

    AVAILABLE = "AVAILABLE"
    BUSY = "BUSY"
    OFFLINE = "OFFLINE"


@dataclass(frozen=True, slots=True)
class TaskTypeSupport:
    """What a unit can do with tasks of one type."""

    task_type: str
    can_pause: bool = False
    can_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """An operator wants a unit gone, within `timeout_seconds` if that is set."""

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
    # Names the process that was last connected; empty if it does not say.
    boot_id: str = ""
    sdk: str = ""
    # What an operator has asked of that process. A unit that is driven over HTTP stays away by it when it has left.
    drain: DrainOrder | None = None

    def accepts(self, task_type: str) -> bool:
        """Whether it runs tasks of this type: one that names no types runs all of them."""
        return not self.task_types or task_type in self.task_types

    def can_pause(self, task_type: str) -> bool:
        """Whether it can pause tasks of this type, as it said; one that names no types can pause all of them."""
        support = self.task_types.get(task_type)
        return support.can_pause if support else not self.task_types

    def can_checkpoint(self, task_type: str) -> bool:
        """Whether it makes checkpoints of tasks of this type and continues from them; without names, as `can_pause`."""
        support = self.task_types.get(task_type)
        return support.can_checkpoint if support else not self.task_types


class AttemptState(StrEnum):
    """What a unit does with an attempt."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """One line of a unit's inventory."""

    task_id: int
    attempt: int
    state: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A unit without a stream introduces itself; see RegisterUnitRequest.

    Task types that are not given are read from `config.taskTypes`, a list of names; without that one too the unit takes
    every type.
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
        """Return what the unit accepts; nothing: every type. What is only named can be paused and makes checkpoints.

        Raises InvalidFields if `config.taskTypes` is no list of names.
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
    """A unit introduces itself; see the message of the same name."""

    unit_id: str
    boot_id: str
    unit_type: str
    unit_name: str
    capacity: int
    task_types: Mapping[str, TaskTypeSupport]
    labels: Mapping[str, str]
    sdk: str
    inventory: tuple[HeldAttempt, ...] = ()
