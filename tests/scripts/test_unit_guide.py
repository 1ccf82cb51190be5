"""The code of the guide for units in Python, run against a scripted server."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskplane.protocol.structs import to_dict
from taskplane.unit import Unit
from taskplane.unit.testing import ScriptedServer, ScriptedSession

PAGE = Path(__file__).parents[2] / "docs/how-to/python-units.md"


@pytest.fixture
def guide(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names defined by the page, with a unit for the scripted server."""
    monkeypatch.setenv("TASKPLANE_SERVER", server.address)
    # The scripted server does not acknowledge the drain, so the unit leaves when this time is over.
    defaults = {**(Unit.__init__.__kwdefaults__ or {}), "drain_seconds": 0.1}
    monkeypatch.setattr(Unit.__init__, "__kwdefaults__", defaults)
    names: dict[str, Any] = {"__name__": "guide"}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  the page's own code
    return names


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def running(guide: dict[str, Any]) -> Iterator[Unit]:
    unit: Unit = guide["unit"]
    thread = threading.Thread(target=unit.run)
    thread.start()
    yield unit
    unit.stop()
    thread.join()


@pytest.fixture
def session(server: ScriptedServer, running: Unit) -> ScriptedSession:
    session = server.session()
    session.welcome()
    return session


def test_the_page_s_test_passes(guide: dict[str, Any], server: ScriptedServer, running: Unit) -> None:
    guide["test_counting"](server)


def test_the_function_copies_a_file(session: ScriptedSession, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 10)
    config = {"source": str(source), "target": str(target), "block": 1000}
    session.start(task_id=1, attempt=1, task_type="COPY_FILE", config=config)
    assert to_dict(session.expect("succeeded").succeeded.result) == {"bytes": 2560}
    assert target.read_bytes() == source.read_bytes()


def test_the_function_refuses_a_bad_config(session: ScriptedSession) -> None:
    config = {"source": "a", "target": "b", "block": 0}
    session.start(task_id=1, attempt=1, task_type="COPY_FILE", config=config)
    failed = session.expect("failed").failed
    assert (failed.message, failed.not_retryable) == ("block must be positive", True)


def test_the_class_is_paused_and_resumed(session: ScriptedSession) -> None:
    session.start(task_id=1, attempt=1, task_type="CONVERT", config={"rows": 20})
    session.expect("accepted")
    session.pause(task_id=1, attempt=1)
    checkpoint = to_dict(session.expect("paused").paused.checkpoint.data)
    assert checkpoint["row"] < 20
    session.resume(task_id=1, attempt=2, held_attempt=1)
    assert to_dict(session.expect("succeeded").succeeded.result) == {"rows": 20}
