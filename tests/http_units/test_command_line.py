"""`taskplane unit run --http`: a built-in unit as a process, driven over HTTP."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from http_units.calls import Calls, plain, struct
from rpc.server import PATIENCE_SECONDS, ServerUnderTest


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"no_http": False}


async def run_unit(*options: str) -> asyncio.subprocess.Process:
    command = ("-m", "taskplane.cli", "unit", "run", "data-processing", *options)
    return await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)


async def test_the_data_processing_unit_runs_over_http(server: ServerUnderTest, calls: Calls, tmp_path: Path) -> None:
    source, target = tmp_path / "users.csv", tmp_path / "users.json"
    source.write_text("id,email\n1,ada@example.org\n2,nobody\n")
    process = await run_unit("--http", "0", "--http-server", f"http://{server.http_address}")
    config = {"inputPath": str(source), "outputPath": str(target), "validationRules": ["email"]}
    task = await calls.until(await calls.start(task_type="DATA_PROCESSING", config=struct(config)), "SUCCESS")
    assert (plain(task.result)["written"], plain(task.result)["rejected"]) == (1, 1)
    assert json.loads(target.read_text()) == [{"id": "1", "email": "ada@example.org"}]
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    assert b"Traceback" not in errors


async def test_a_port_that_is_taken_is_one_line(server: ServerUnderTest) -> None:
    taken = server.http_address.rpartition(":")[2]
    process = await run_unit("--http", taken)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(b"error: ")
    assert b"Traceback" not in errors
