"""Records of a run. All times are seconds of CLOCK_MONOTONIC, shared by all processes of a machine."""

from dataclasses import dataclass

# Zones of the units, by label; only the first unit is in the first zone.
ZONES = ("harbour", "town")
# Units without a stream: one calls the REST API, one the gRPC API.
HTTP_UNIT = "unit-http"
UNARY_UNIT = "unit-unary"


def has_stream(unit: str) -> bool:
    """Return whether a unit, given by name, has a stream, and so receives all messages in one order."""
    return unit not in {HTTP_UNIT, UNARY_UNIT}


# Records written by units.


@dataclass(frozen=True, slots=True)
class Begun:
    """A call of an executor: an execution. `resumed_from` is the step of its checkpoint; None: from scratch."""

    execution: str
    unit: str
    task: int
    attempt: int
    at: float
    resumed_from: int | None
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A completed step under `attempt` (which changes within an execution by a resume in memory).

    `asked`: entry into the safe point before the step; `began`: return from the safe point.
    """

    execution: str
    unit: str
    task: int
    attempt: int
    number: int
    asked: float
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an execution. `how` is succeeded, failed, failed for good, or the name of the interruption."""

    execution: str
    unit: str
    task: int
    attempt: int
    how: str
    at: float


@dataclass(frozen=True, slots=True)
class Acked:
    """An acknowledged report. `number` and `step` are of the checkpoint in the report, if any.

    The number is 0 if the server numbers the unit's checkpoints.
    """

    unit: str
    task: int
    attempt: int
    kind: str
    at: float
    number: int = 0
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """At `at`, the unit learned that the server had received a message sent at `sent`.

    The names of the process's executions begin with `process`. `is_welcome`: the message began a session.
    """

    unit: str
    sent: float
    at: float
    process: str = ""
    is_welcome: bool = False


@dataclass(frozen=True, slots=True)
class Obeyed:
    """A pause or cancel that a unit carried out, or (`is_accepted` is False) refused."""

    unit: str
    command: str
    task: int
    attempt: int
    order: str
    is_accepted: bool
    at: float


@dataclass(frozen=True, slots=True)
class Lie:
    """A report on a lost attempt. `is_dropped`: the server ordered a drop of the attempt."""

    unit: str
    task: int
    attempt: int
    kind: str
    at: float
    is_dropped: bool


# Records written by clients.


@dataclass(frozen=True, slots=True)
class Seen:
    """A task in a response. `checkpoint_step` is the content of its newest checkpoint, if the response has one.

    `pending` is the id of the command without effect so far.
    """

    task: int
    status: str
    revision: int
    attempt: int
    checkpoint_step: int | None = None
    pending: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A client's call. `code` is OK or the error's code; `names` are the requested task names of a create.

    `answer` is a digest of the response. Calls with the same `request` are repeats of the first. `wanted` is the
    requested priority or checkpoint number. A bulk call names `tasks`, or a part of their names.
    """

    client: str
    verb: str
    task: int
    began: float
    ended: float
    code: str
    reason: str = ""
    seen: tuple[Seen, ...] = ()
    names: tuple[str, ...] = ()
    request: str = ""
    answer: str = ""
    wanted: int | None = None
    tasks: tuple[int, ...] = ()


# Status that a watch sends for a deleted task.
DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Watched:
    """A transition sent by a watch, or a deletion (DELETED, attempt 0)."""

    revision: int
    task: int
    to_status: str
    attempt: int
    watch: str = "steady"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The beginning of a watch: every change after `revision` must follow, unless its task was shown at a later one."""

    watch: str
    revision: int
    shown: dict[str, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """The refusal of a watch that resumed after `revision`, its last received revision."""

    watch: str
    revision: int
    message: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken on purpose, from `began` to `ended`."""

    name: str
    target: str
    began: float
    ended: float


# Content of the database.


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the history in the database."""

    revision: int
    task: int
    from_status: str | None
    to_status: str
    at: float
    by: str
    reason: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A row of `tasks` at the end. `result` is the return value of the executor."""

    id: int
    name: str
    status: str
    attempt: int
    queued: bool
    pending: str | None
    steps: int
    result: dict[str, int] | None
    revision: int = 0
    retry_count: int = 0
    max_retries: int = 0
    progress: float | None = None
    type: str = ""
    priority: int = 0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A row of `task_checkpoints` at the end."""

    task: int
    number: int
    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """A row of `task_commands` at the end."""

    id: str
    task: int
    attempt: int
    verb: str
    state: str
    actor: str
    reason: str
    issued_at: float
    settled_at: float | None
    message: str


@dataclass(frozen=True, slots=True)
class FinalUnit:
    """A unit as the server shows it at the end."""

    id: str
    capacity: int
    load: int
