"""All that is known of a run when it is over: what was written down, and what the database holds."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy
from robustness.journal import Reader
from robustness.records import (
    Acked,
    Begun,
    Call,
    Ended,
    Fault,
    FinalUnit,
    Heard,
    Lie,
    Obeyed,
    Refused,
    Snapshot,
    Step,
    StoredCheckpoint,
    StoredCommand,
    StoredTask,
    Transition,
    Watched,
)

# How the history names the ends of attempts of which the unit was not asked.
WITHOUT_ITS_UNIT = (
    "unit lost",
    "did not accept",
    "without having accepted",
    "unit left",
    "exceeded",
    "forced",
    "stalled",
)


_OF_CONNECTIONS = frozenset({"cut_connections", "cut_while_pausing", "delay_connections", "stall_connections"})


@dataclass(frozen=True)
class Evidence:
    """The records of a run. `watched_since` is the revision after which the watch must have told everything."""

    lease_seconds: float
    transitions: Sequence[Transition] = ()
    tasks: Sequence[StoredTask] = ()
    checkpoints: Sequence[StoredCheckpoint] = ()
    commands: Sequence[StoredCommand] = ()
    units: Sequence[FinalUnit] = ()
    calls: Sequence[Call] = ()
    executions: Sequence[Begun] = ()
    steps: Sequence[Step] = ()
    endings: Sequence[Ended] = ()
    acked: Sequence[Acked] = ()
    heard: Sequence[Heard] = ()
    obeyed: Sequence[Obeyed] = ()
    lies: Sequence[Lie] = ()
    watched: Sequence[Watched] = ()
    snapshots: Sequence[Snapshot] = ()
    refused: Sequence[Refused] = ()
    faults: Sequence[Fault] = ()
    watched_since: int = 0
    capacities: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def history(self) -> dict[int, list[Transition]]:
        """Each task's transitions, oldest first."""
        return _by_task(sorted(self.transitions, key=lambda each: each.revision))

    @cached_property
    def executions_of(self) -> dict[int, list[Begun]]:
        """Each task's executions, by time."""
        return _by_task(sorted(self.executions, key=lambda each: each.at))

    @cached_property
    def steps_of(self) -> dict[int, list[Step]]:
        """Each task's steps, by time."""
        return _by_task(sorted(self.steps, key=lambda each: each.began))

    @cached_property
    def steps_in(self) -> dict[str, list[Step]]:
        """The steps of each execution, by time."""
        steps = defaultdict(list)
        for step in sorted(self.steps, key=lambda each: each.began):
            steps[step.execution].append(step)
        return steps

    @cached_property
    def ends(self) -> dict[tuple[int, int], Transition]:
        """The transition that took each attempt, given as task and number, out of RUNNING."""
        return {(each.task, each.attempt): each for each in self.transitions if each.from_status == "RUNNING"}

    @cached_property
    def ran(self) -> dict[tuple[int, int], str]:
        """The unit that each attempt, given as task and number, was executed by."""
        ran = {(begun.task, begun.attempt): begun.unit for begun in self.executions}
        return ran | {(step.task, step.attempt): step.unit for step in self.steps}

    @cached_property
    def chosen(self) -> set[int]:
        """The tasks that were to go on from a checkpoint of the caller's choice, not always the newest."""
        return {call.task for call in self.calls if call.verb in {"resume_from", "restart_from"}}

    @cached_property
    def updated(self) -> set[int]:
        """The tasks whose priority was changed, or may have been."""
        return {call.task for call in self.calls if call.verb == "update"}

    def life(self, task: int, attempt: int) -> int:
        """How often a client had put the task back to its beginning before this attempt."""
        return sum(is_restart(each) and each.attempt < attempt for each in self.history[task])

    def undisturbed_after(self, at: float, seconds: float, names: frozenset[str], target: str = "") -> float:
        """The first time after `at` by which so many seconds have passed without one of these faults.

        With a target, faults of the connections of others but the database do not count.
        """
        until = at + seconds
        for fault in sorted(self.faults, key=lambda each: each.began):
            is_elsewhere = bool(target) and fault.name in _OF_CONNECTIONS and fault.target not in {target, "database"}
            if fault.name in names and not is_elsewhere and fault.began < until and fault.ended > at:
                until = fault.ended + seconds
        return until


def is_restart(step: Transition) -> bool:
    """Whether a client put the task back to its beginning. An automatic retry is the server's own."""
    return step.from_status is not None and step.to_status == "PENDING" and step.by != "taskplane"


def gather(folder: Path, database_url: str, **rest: Any) -> Evidence:
    """Reads the journals of a folder and the tables of a database; `rest` are the other fields."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connection:
        transitions = _transitions(connection)
        tables: dict[str, Any] = {
            "tasks": _tasks(connection),
            "checkpoints": _checkpoints(connection),
            "commands": _commands(connection),
        }
    engine.dispose()
    for name, rows in {**tables, "history": transitions}.items():
        _keep(folder / f"{name}.txt", rows)
    journals = Reader(folder)
    return Evidence(
        transitions=transitions,
        calls=journals.all(Call),
        executions=journals.all(Begun),
        steps=journals.all(Step),
        endings=journals.all(Ended),
        acked=journals.all(Acked),
        heard=journals.all(Heard),
        obeyed=journals.all(Obeyed),
        lies=journals.all(Lie),
        watched=journals.all(Watched),
        snapshots=journals.all(Snapshot),
        refused=journals.all(Refused),
        faults=journals.all(Fault),
        **tables,
        **rest,
    )


def _keep(path: Path, rows: Sequence[Any]) -> None:
    """For whoever looks for the cause of a violation: the database goes with the run."""
    with path.open("w") as file:
        file.writelines(f"{each}\n" for each in rows)


def _rows(connection: sqlalchemy.Connection, columns: str, table: str) -> Sequence[Any]:
    return connection.execute(sqlalchemy.text(f"SELECT {columns} FROM {table}")).all()  # noqa: S608  constants


def _transitions(connection: sqlalchemy.Connection) -> list[Transition]:
    columns = "id, task_id, from_status, to_status, changed_at, changed_by, reason, attempt"
    return [
        Transition(revision, task, before, after, _monotonic(at), by, reason or "", attempt)
        for revision, task, before, after, at, by, reason, attempt in _rows(connection, columns, "task_status_history")
    ]


def _tasks(connection: sqlalchemy.Connection) -> list[StoredTask]:
    return [
        StoredTask(
            id=row.id,
            name=row.task_name,
            status=row.status,
            attempt=row.attempt,
            queued=bool(row.queued),
            pending=row.pending_verb,
            steps=_whole(row.config)["steps"],
            result=_whole(row.result),
            revision=row.revision,
            retry_count=row.retry_count,
            max_retries=row.max_retries,
            progress=row.progress,
            type=row.task_type,
            priority=row.priority,
            zone=json.loads(row.config).get("zone", ""),
        )
        for row in _rows(connection, "*", "tasks")
    ]


def _checkpoints(connection: sqlalchemy.Connection) -> list[StoredCheckpoint]:
    return [
        StoredCheckpoint(task, number, attempt, _whole(data).get("step", -1))
        for task, number, attempt, data in _rows(connection, "task_id, number, attempt, data", "task_checkpoints")
    ]


def _commands(connection: sqlalchemy.Connection) -> list[StoredCommand]:
    columns = "command_id, task_id, attempt, verb, state, actor, reason, issued_at, settled_at, message"
    return [
        StoredCommand(
            *(command, task, attempt, verb, state),
            actor=actor or "",
            reason=reason or "",
            issued_at=_monotonic(issued),
            settled_at=_monotonic(settled) if settled else None,
            message=message or "",
        )
        for command, task, attempt, verb, state, actor, reason, issued, settled, message in _rows(
            connection, columns, "task_commands"
        )
    ]


def _whole(text: str | None) -> Any:
    """JSON whose numbers count things."""
    values = json.loads(text) if text else None
    return values and {name: int(value) for name, value in values.items() if isinstance(value, int | float)}


def _monotonic(at: datetime | str) -> float:
    """A time of the database, which is UTC, on the clock of the records."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return when.replace(tzinfo=UTC).timestamp() - (time.time() - time.monotonic())


def _by_task(records: Sequence[Any]) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for record in records:
        found[record.task].append(record)
    return found
