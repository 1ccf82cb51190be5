"""Interrupted tasks: the same output as without interruption, byte for byte."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from built_in_units.data_processing.conftest import USERS
from built_in_units.data_processing.driver import (
    Event,
    KilledError,
    MakeCheckpoint,
    ScriptedTask,
    at,
    do_nothing,
    kill,
    parts_in,
    pause,
    python,
    release,
    run,
    run_to_the_end,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from taskplane.unit import Interrupted, TaskCancelled, TaskDropped, TaskFailed, TaskReleased
from taskplane.units.data_processing.part_file import PartFile

PART = ".users.json.17.part"
REJECTS_PART = ".users.json.rejects.jsonl.17.part"


def raising(error: type[BaseException]) -> Event:
    def event(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
        raise error

    return event


def outcome(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupted(config: dict[str, Any], event: Event, call: int) -> ScriptedTask:
    """Return a task after an attempt with `event` at the given call."""
    task = ScriptedTask(at(call, event))
    with pytest.raises((Interrupted, KilledError)):
        run(task, config)
    return task


@settings(deadline=None)
@given(
    events=st.lists(st.sampled_from([do_nothing, pause, release, kill]), max_size=30),
    batch_size=st.integers(1, 4),
    interval=st.integers(1, 5),
    ending=st.sampled_from(["json", "jsonl"]),
)
def test_however_often_a_task_is_interrupted_its_output_is_the_same(
    events: list[Event], batch_size: int, interval: int, ending: str
) -> None:
    outcomes = []
    results = []
    for happenings in ([], events):
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "users.csv").write_text(USERS * 2, newline="")
            config = {
                "inputPath": str(folder / "users.csv"),
                "outputPath": str(folder / f"users.{ending}"),
                "batchSize": batch_size,
                "checkpointInterval": interval,
                "validationRules": ["email", "phone"],
            }
            result = run_to_the_end(happenings, config)
            results.append({key: value for key, value in result.items() if not key.endswith("Path")})
            outcomes.append(outcome(folder))
    assert outcomes[0] == outcomes[1]
    assert results[0] == results[1]


def test_what_a_dying_process_wrote_after_its_checkpoint_is_cut_off(
    config: dict[str, Any], target: Path, tmp_path: Path
) -> None:
    run(ScriptedTask(), config)
    expected = outcome(tmp_path)
    task = interrupted(config, release, 2)
    for name in (PART, REJECTS_PART):
        with (tmp_path / name).open("ab") as part:
            part.write(b'{"half a row')
    run(ScriptedTask(checkpoint=task.stored), config)
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize(
    ("source_has_rejects", "moment"),
    [
        *((True, moment) for moment in ("append", "publish", "sync_folder")),
        *((False, moment) for moment in ("append", "publish", "remove_all", "sync_folder")),
    ],
)
def test_a_process_that_dies_while_it_finishes_does_no_harm(  # noqa: PLR0913 — fixtures
    config: dict[str, Any],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    *,
    source_has_rejects: bool,
) -> None:
    if not source_has_rejects:
        source.write_text("email,phone\n" + "ada@example.org,+49 30 901820\n" * 7)
    run(ScriptedTask(), config)
    expected = outcome(tmp_path)
    for deaths in range(1, 12):
        task = ScriptedTask()
        with dying_after(deaths, moment, monkeypatch) as died:
            try:
                run(task, config)
            except KilledError:
                assert died
            else:
                assert deaths > 1
        run(ScriptedTask(checkpoint=task.stored), config)
        assert outcome(tmp_path) == expected


@contextmanager
def dying_after(calls: int, method: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Let the process die after the given call of a part file's method, inside the block."""
    genuine = getattr(PartFile, method)
    died: list[bool] = []
    remaining = calls

    def fatal(part: PartFile, *args: object) -> None:
        nonlocal remaining
        genuine(part, *args)
        remaining -= 1
        if remaining == 0:
            died.append(True)
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(PartFile, method, fatal)
        yield died


KILLED = """
import json, os, signal, sys
from built_in_units.data_processing.driver import ScriptedTask, at, run

def die(task, make_checkpoint):
    json.dump(task.stored, sys.stdout)
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)

run(ScriptedTask(at(int(sys.argv[2]), die)), json.loads(sys.argv[1]))
"""


@pytest.mark.parametrize("call", [1, 3, 4])
def test_a_process_that_is_killed_leaves_all_that_is_needed(
    config: dict[str, Any], tmp_path: Path, target: Path, call: int
) -> None:
    run(ScriptedTask(), config)
    expected = outcome(tmp_path)
    target.unlink()
    killed = python(KILLED, json.dumps(config), str(call))
    assert killed.returncode == -signal.SIGKILL
    assert parts_in(tmp_path) == [PART, REJECTS_PART]
    assert not target.exists()
    run(ScriptedTask(checkpoint=json.loads(killed.stdout)), config)
    assert outcome(tmp_path) == expected


def test_a_paused_task_lets_another_process_go_on_and_does_not_write_beside_it(
    config: dict[str, Any], target: Path
) -> None:
    elsewhere: list[dict[str, Any]] = []

    def go_on_elsewhere(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
        pause(task, make_checkpoint)
        elsewhere.append(run(ScriptedTask(checkpoint=task.stored), config))

    with pytest.raises(TaskFailed, match="another process is writing to it") as failure:
        run(ScriptedTask(at(2, go_on_elsewhere)), config)
    assert failure.value.retryable
    assert elsewhere[0]["rows"] == 7
    assert [row["id"] for row in json.loads(target.read_text())] == ["1", "2", "4", "7"]


def test_a_process_that_was_given_up_for_dead_notices_its_successor(config: dict[str, Any], target: Path) -> None:
    def successor_began(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
        interrupted(config, release, 1)

    task = ScriptedTask(at(3, successor_began))
    with pytest.raises(TaskFailed, match=r"outputPath: .*another process is writing to it") as failure:
        run(task, config)
    assert failure.value.retryable
    assert not target.exists()


def test_a_part_file_in_use_is_left_alone(config: dict[str, Any], tmp_path: Path) -> None:
    task = interrupted(config, release, 2)
    before = outcome(tmp_path)
    with (tmp_path / PART).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TaskFailed, match="another process is writing to it") as failure:
            run(ScriptedTask(checkpoint=task.stored), config)
    assert failure.value.retryable
    assert outcome(tmp_path) == before


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_cancelled_task_leaves_nothing_of_its_own(config: dict[str, Any], tmp_path: Path, call: int) -> None:
    interrupted(config, raising(TaskCancelled), call)
    assert list(outcome(tmp_path)) == ["users.csv"]


def test_a_task_is_cancelled_while_it_is_paused(config: dict[str, Any], tmp_path: Path) -> None:
    def pause_then_cancel(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
        pause(task, make_checkpoint)
        raise TaskCancelled

    interrupted(config, pause_then_cancel, 2)
    assert list(outcome(tmp_path)) == ["users.csv"]


@pytest.mark.parametrize("error", [TaskReleased, TaskDropped])
def test_what_is_given_back_or_lost_stays_for_the_next_attempt(
    config: dict[str, Any], tmp_path: Path, error: type[Interrupted]
) -> None:
    interrupted(config, raising(error), 2)
    assert parts_in(tmp_path) == [PART, REJECTS_PART]


def test_from_scratch_means_without_leftovers(config: dict[str, Any], tmp_path: Path) -> None:
    run(ScriptedTask(), config)
    expected = outcome(tmp_path)
    interrupted(config, release, 3)
    run(ScriptedTask(), config)
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize("name", [PART, REJECTS_PART])
@pytest.mark.parametrize("loss", ["gone", "shorter"])
def test_without_the_part_files_the_work_begins_anew(
    config: dict[str, Any], tmp_path: Path, name: str, loss: str
) -> None:
    run(ScriptedTask(), config)
    expected = outcome(tmp_path)
    task = interrupted(config, release, 2)
    if loss == "gone":
        (tmp_path / name).unlink()
    else:
        os.truncate(tmp_path / name, 1)
    run(ScriptedTask(checkpoint=task.stored), config)
    assert outcome(tmp_path) == expected


def touch(source: Path) -> None:
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1000))


def append(source: Path) -> None:
    with source.open("a") as file:
        file.write("8,New,new@example.org,+1 212 555 0103\n")


def edit_secretly(source: Path) -> None:
    time = source.stat().st_mtime_ns
    source.write_text(USERS.replace("Ada", "Eva"), newline="")
    os.utime(source, ns=(time, time))


@pytest.mark.parametrize("change", [touch, append, edit_secretly])
def test_an_input_that_changed_between_two_attempts_fails_the_task(
    config: dict[str, Any], source: Path, tmp_path: Path, change: Any
) -> None:
    task = interrupted(config, release, 2)
    change(source)
    with pytest.raises(TaskFailed, match=r"inputPath: .*users.csv: was changed since the task began") as failure:
        run(ScriptedTask(checkpoint=task.stored), config)
    assert not failure.value.retryable
    assert parts_in(tmp_path) == []


@pytest.mark.parametrize("change", [touch, append, lambda source: source.replace(source.with_name("old.csv"))])
def test_an_input_that_changed_during_a_pause_fails_the_task(
    config: dict[str, Any], source: Path, target: Path, change: Any
) -> None:
    def pause_and_change(task: ScriptedTask, make_checkpoint: MakeCheckpoint | None) -> None:
        pause(task, make_checkpoint)
        change(source)

    with pytest.raises(TaskFailed, match=r"inputPath: .*users.csv: ") as failure:
        run(ScriptedTask(at(2, pause_and_change)), config)
    assert not failure.value.retryable
    assert not target.exists()


def test_a_foreign_checkpoint_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(TaskFailed, match=r"(?s)the checkpoint is not one of this unit: .*offset") as failure:
        run(ScriptedTask(checkpoint={"row": 7}), config)
    assert not failure.value.retryable
