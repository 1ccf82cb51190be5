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
from robustness.journal import read
from robustness.records import Begun, Call, FinalUnit, Step, StoredTask, Transition, Watched


@dataclass(frozen=True)
class Evidence:
    """The records of a run. `watched_since` is the revision after which the watch must have told everything."""

    lease_seconds: float
    transitions: Sequence[Transition] = ()
    tasks: Sequence[StoredTask] = ()
    units: Sequence[FinalUnit] = ()
    calls: Sequence[Call] = ()
    executions: Sequence[Begun] = ()
    steps: Sequence[Step] = ()
    watched: Sequence[Watched] = ()
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


def gather(folder: Path, database_url: str, **rest: Any) -> Evidence:
    """Reads the journals of a folder and the tables of a database; `rest` are the other fields."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connection:
        transitions, tasks = _transitions(connection), _tasks(connection)
    engine.dispose()
    _keep(folder, transitions)
    return Evidence(
        transitions=transitions,
        tasks=tasks,
        calls=read(folder, Call),
        executions=read(folder, Begun),
        steps=read(folder, Step),
        watched=read(folder, Watched),
        **rest,
    )


def _keep(folder: Path, transitions: Sequence[Transition]) -> None:
    """For whoever looks for the cause of a violation: the database goes with the run."""
    with (folder / "history.txt").open("w") as history:
        history.writelines(f"{each}\n" for each in transitions)


def _transitions(connection: sqlalchemy.Connection) -> list[Transition]:
    columns = "id, task_id, from_status, to_status, changed_at, changed_by, reason, attempt"
    rows = connection.execute(sqlalchemy.text(f"SELECT {columns} FROM task_status_history"))  # noqa: S608  constant
    return [
        Transition(revision, task, before, after, _monotonic(at), by, reason or "", attempt)
        for revision, task, before, after, at, by, reason, attempt in rows
    ]


def _tasks(connection: sqlalchemy.Connection) -> list[StoredTask]:
    columns = "id, task_name, status, attempt, queued, pending_verb, config, result"
    rows = connection.execute(sqlalchemy.text(f"SELECT {columns} FROM tasks"))  # noqa: S608  constant
    return [
        StoredTask(number, name, status, attempt, bool(queued), pending, _whole(config)["steps"], _whole(result))
        for number, name, status, attempt, queued, pending, config, result in rows
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
