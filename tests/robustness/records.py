"""Records of a run. All times are seconds of CLOCK_MONOTONIC, which all processes of a machine share."""

from dataclasses import dataclass

# The zones, by label, of the units; the first unit alone is in the first one.
ZONES = ("harbour", "town")
# The units without a stream: one calls the REST API, one the gRPC API.
HTTP_UNIT = "unit-http"
UNARY_UNIT = "unit-unary"


def has_stream(unit: str) -> bool:
    """Return whether a unit, given by name, has a stream, so that it hears everything in one order."""
    return unit not in {HTTP_UNIT, UNARY_UNIT}


# Records that units write.


@dataclass(frozen=True, slots=True)
class Begun:
    """An executor was called: one execution. `resumed_from` is the step of its checkpoint; None: from scratch."""

    execution: str
    unit: str
    task: int
    attempt: int
    at: float
    resumed_from: int | None
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work was done, in the name of `attempt` (which changes within an execution by a resume in memory).

    `asked`: the safe point before it was entered; `began`: it let the step through.
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
    """An execution is over. `how` is succeeded, failed, failed for good, or the name of what interrupted it."""

    execution: str
    unit: str
    task: int
    attempt: int
    how: str
    at: float


@dataclass(frozen=True, slots=True)
class Acked:
    """A report was acknowledged to a unit. `number` and `step` are those of the checkpoint in the report, if any.

    The number is 0 if the unit lets the server count.
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
    """The unit learned at `at` that the server has received a message that was sent at `sent`.

    The names of the executions of its process begin with `process`. `is_welcome`: the message began a session.
    """

    unit: str
    sent: float
    at: float
    process: str = ""
    is_welcome: bool = False


@dataclass(frozen=True, slots=True)
class Obeyed:
    """A unit has carried out a pause or cancel, or (`is_accepted` is False) refused it."""

    unit: str
    command: str
    task: int
    attempt: int
    order: str
    is_accepted: bool
    at: float


@dataclass(frozen=True, slots=True)
class Lie:
    """A unit reported on an attempt that was not its own any more. `is_dropped`: the server told it to drop that."""

    unit: str
    task: int
    attempt: int
    kind: str
    at: float
    is_dropped: bool


# Records that clients write.


@dataclass(frozen=True, slots=True)
class Seen:
    """A task as an answer showed it. `checkpoint_step` is what its newest checkpoint holds, if the answer has it.

    `pending` is the id of the command that had not taken effect yet.
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
    """A client's call. `code` is OK or that of the error; `names` are those of the tasks that a create asked for.

    `answer` is a digest of the answer's text. Calls with the same `request` are repeats of the first. `wanted` is the
    priority or the number of the checkpoint that was asked for. A call on many tasks names `tasks`, or a part of their
    names.
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


# What a watch tells of a task that is gone.
DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Watched:
    """A transition that a watch told, or that the task was deleted (DELETED, attempt 0)."""

    revision: int
    task: int
    to_status: str
    attempt: int
    watch: str = "steady"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a watch began: every change after `revision` must be told, unless its task was shown at a later one."""

    watch: str
    revision: int
    shown: dict[str, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """A watch was refused to go on after `revision`, which was the last that it was told."""

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


# What the database holds.


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
    """A row of `tasks` at the end. `result` is what the executor returned."""

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
