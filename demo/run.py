"""`make demo`: a unit processes a CSV, is paused in the middle, resumed, and finishes.

Server and unit are processes on free ports, with their files in a temporary folder. Exits with 0 only if every step
succeeded.
"""

import argparse
import csv
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from processes import DemoError, Service, run_to_end
from rich.markup import escape
from screen import conclude, console, follow, run_taskplane, show_json, show_tail, status_name, step

from taskplane.client import Client, TaskplaneError, to_dict
from taskplane.v1.task_pb2 import Task

DEMO = Path(__file__).parent
UNIT_ID = "demo-unit"
PAUSE_AT = 0.4


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, which stops the services
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taskplane-demo-") as name:
        folder = Path(name)
        try:
            run_demo(folder, options.csv or make_csv(folder, options.rows))
        except (DemoError, TaskplaneError, OSError) as error:
            show_failure(error, folder)
            return 1
        except KeyboardInterrupt:
            return 130
    seconds = time.monotonic() - began
    conclude(f"Done in {seconds:.1f} s. Server and unit ended with exit code 0, and their files are removed.")
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, help="process this file instead of one that is made")
    parser.add_argument(
        "--rows", type=int, default=300_000, help="of the file that is made (%(default)s); a few are done at once"
    )
    return parser.parse_args()


def make_csv(folder: Path, rows: int) -> Path:
    step(f"A CSV of {rows:,} users, about one in fifty of them with something wrong")
    path = folder / "users.csv"
    run_to_end([sys.executable, DEMO / "make_users_csv.py", "--rows", str(rows), str(path)])
    return path


def run_demo(folder: Path, source: Path) -> None:
    database = f"sqlite:///{folder / 'taskplane.db'}"
    step("A server over SQLite, on a free port of this machine")
    with Service(
        "server", ["serve", "--grpc", "127.0.0.1:0", "--no-http", "--database-url", database], folder
    ) as server:
        server.wait_until(lambda: server.logged("ready grpc=") is not None)
        address = server.logged("ready grpc=") or ""
        os.environ["TASKPLANE_SERVER"] = address  # read by the command and by the unit
        console.print(f"   listening on {address}")
        with (
            Client(address) as client,
            Service("unit", ["unit", "run", "data-processing", "--id", UNIT_ID], folder) as unit,
        ):
            step("A unit that processes data, connected to it")
            unit.wait_until(lambda: any(known.id == UNIT_ID for known in client.list_units()))
            run_taskplane("unit", "list")
            control_a_task(client, folder, source)


def control_a_task(client: Client, folder: Path, source: Path) -> None:
    target = folder / "users.json"
    task_id = create_task(client, folder, config_for(source, target))
    require_status(follow(client, task_id, stop_at=PAUSE_AT), "RUNNING")
    pause(client, task_id)
    require_standstill(target.with_name(f".{target.name}.{task_id}.part"))
    step("Resume it, and follow it to its end")
    run_taskplane("task", "resume", str(task_id), "--reason", "enough of a rest")
    require_status(follow(client, task_id), "SUCCESS")
    show_outcome(client, task_id)
    check_output(source, target)


def config_for(source: Path, target: Path) -> dict[str, object]:
    """Return the requirements' example, with the rules for which the file has columns."""
    with source.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        columns = {name.strip().lower() for name in next(csv.reader(file), [])}
    return {
        "inputPath": str(source.resolve()),
        "outputPath": str(target),
        "batchSize": 1000,
        "validationRules": [rule for rule in ("email", "phone") if rule in columns],
        "checkpointInterval": 5000,
    }


def create_task(client: Client, folder: Path, config: dict[str, object]) -> int:
    step("Create a task and start it")
    config_file = folder / "config.json"
    config_file.write_text(json.dumps(config))
    show_json(config)
    run_taskplane(
        *("task", "create", "--type", "DATA_PROCESSING", "--name", "users"),
        *("--config-file", str(config_file), "--start"),
    )
    return next(client.list_tasks()).id


def pause(client: Client, task_id: int) -> None:
    step(f"Pause it at about {PAUSE_AT:.0%}, this time from Python")
    console.print(f'   client.pause_task({task_id}, actor="demo", reason="to show it")')
    task = client.pause_task(task_id, actor="demo", reason="to show it")
    require_status(task, "PAUSED")
    if not task.checkpoint.number:
        raise DemoError("the paused task has no checkpoint")
    run_taskplane("task", "get", str(task_id))


def require_standstill(part: Path) -> None:
    step("Paused means paused: the part file does not grow")
    before = part.stat().st_size
    time.sleep(1)  # a running unit writes some megabytes in this time
    after = part.stat().st_size
    console.print(f"   {before:,} bytes now, {after:,} bytes a second later")
    if before != after:
        raise DemoError("the part file grew while the task was paused")


def require_status(task: Task, wanted: str) -> None:
    if status_name(task) != wanted:
        raise DemoError(f"the task is {status_name(task)}, not {wanted}: {task.error_message or task.progress.message}")


def show_outcome(client: Client, task_id: int) -> None:
    step("What happened, and what came out")
    run_taskplane("task", "history", str(task_id))
    show_json(to_dict(client.get_task(task_id).result))


def check_output(source: Path, target: Path) -> None:
    step("Count again by other means: each row once, in order")
    report = run_to_end([sys.executable, DEMO / "independent_count.py", source, target])
    console.print(report.rstrip(), soft_wrap=True)


def show_failure(error: Exception, folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        show_tail(log)
    console.print(f"[bold red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
