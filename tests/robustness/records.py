"""What is written down of a run. All times are seconds of CLOCK_MONOTONIC, which all processes of a machine share."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Begun:
    """An executor was called: one execution. `resumed_from` is the step of its checkpoint; None: from scratch."""

    execution: str
    unit: str
    task: int
    attempt: int
    at: float
    resumed_from: int | None


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
class Seen:
    """A task as an answer showed it. `checkpoint_step` is what its newest checkpoint holds, if the answer has it."""

    task: int
    status: str
    revision: int
    attempt: int
    checkpoint_step: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A client's call. `code` is OK or that of the error; `names` are those of the tasks that a create asked for."""

    client: str
    verb: str
    task: int
    began: float
    ended: float
    code: str
    reason: str = ""
    seen: tuple[Seen, ...] = ()
    names: tuple[str, ...] = ()


# What a watch tells of a task that is gone.
DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Watched:
    """A transition that a watch told, or that the task was deleted (DELETED, attempt 0)."""

    revision: int
    task: int
    to_status: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken on purpose, from `began` to `ended`."""

    name: str
    target: str
    began: float
    ended: float


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


@dataclass(frozen=True, slots=True)
class FinalUnit:
    """A unit as the server shows it at the end."""

    id: str
    capacity: int
    load: int
