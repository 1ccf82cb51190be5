"""The evidence of a finished run: its journals, and the content of the database."""

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

# Reasons in the history for ends of attempts without the unit's consent.
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
    """The records of a run. The watch must have received every change after revision `watched_since`."""

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
        """Return the transition of each attempt, given as task and number, out of RUNNING."""
        return {(each.task, each.attempt): each for each in self.transitions if each.from_status == "RUNNING"}

    @cached_property
    def ran(self) -> dict[tuple[int, int], str]:
        """Return the unit of each executed attempt, given as task and number."""
        ran = {(begun.task, begun.attempt): begun.unit for begun in self.executions}
        return ran | {(step.task, step.attempt): step.unit for step in self.steps}

    @cached_property
    def chosen(self) -> set[int]:
        """Return the tasks resumed or restarted from a checkpoint of the caller's choice."""
        return {call.task for call in self.calls if call.verb in {"resume_from", "restart_from"}}

    @cached_property
    def updated(self) -> set[int]:
        """Return the tasks whose priority may have changed."""
        return {call.task for call in self.calls if call.verb == "update"}

    def life(self, task: int, attempt: int) -> int:
        """Return how often a client had restarted the task before this attempt."""
        return sum(is_restart(each) and each.attempt < attempt for each in self.history[task])

    def undisturbed_after(self, at: float, seconds: float, names: frozenset[str], target: str = "") -> float:
        """Return the first time after `at` that follows a number of seconds without these faults.

        With a target, only faults of its own connections and of the database count.
        """
        until = at + seconds
        for fault in sorted(self.faults, key=lambda each: each.began):
            is_elsewhere = bool(target) and fault.name in _OF_CONNECTIONS and fault.target not in {target, "database"}
            if fault.name in names and not is_elsewhere and fault.began < until and fault.ended > at:
                until = fault.ended + seconds
        return until


def is_restart(step: Transition) -> bool:
    """Return whether a client restarted the task. Automatic retries do not count."""
    return step.from_status is not None and step.to_status == "PENDING" and step.by != "taskplane"


def gather(folder: Path, database_url: str, **rest: Any) -> Evidence:
    """Read the journals of a folder and the tables of a database; `rest` are the other fields."""
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
    """Save the tables for the search for a violation's cause: the database goes with the run."""
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
    """Return a JSON object of counts."""
    values = json.loads(text) if text else None
    return values and {name: int(value) for name, value in values.items() if isinstance(value, int | float)}


def _monotonic(at: datetime | str) -> float:
    """Convert a time of the database (UTC) to the clock of the records."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return when.replace(tzinfo=UTC).timestamp() - (time.time() - time.monotonic())


def _by_task(records: Sequence[Any]) -> dict[int, list[Any]]:
    found = defaultdict(list)
    for record in records:
        found[record.task].append(record)
    return found
