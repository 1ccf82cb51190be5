"""A unit under test, connected to a scripted server."""

import threading
from collections.abc import Callable, Iterator

import pytest

from taskplane.unit import Unit, backoff
from taskplane.unit.testing import ScriptedServer, ScriptedSession

TIMEOUT_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_FIRST_BOUND_SECONDS", 0.01)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


class RunningUnit:
    """A unit in a thread."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        """Wait until `run` returns or raises; `error` holds the exception."""
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.unit.run()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error


@pytest.fixture
def run(server: ScriptedServer) -> Iterator[Callable[[Unit], RunningUnit]]:
    """Return a function to run a unit; stop all units after the test."""
    running: list[RunningUnit] = []

    def run(unit: Unit) -> RunningUnit:
        running.append(RunningUnit(unit))
        return running[-1]

    yield run
    for unit in running:
        unit.unit.stop()
        unit.join()


@pytest.fixture
def unit(server: ScriptedServer) -> Unit:
    """Return a unit without executors, with a drain too short to wait for unacknowledged reports."""
    return Unit(name="unit under test", type="TEST", capacity=4, server=server.address, drain_seconds=0.1)


@pytest.fixture
def connect(server: ScriptedServer, run: Callable[[Unit], RunningUnit]) -> Callable[[Unit], ScriptedSession]:
    """Return a function: run a unit, send Welcome, return the session."""

    def connect(unit: Unit) -> ScriptedSession:
        run(unit)
        session = server.session()
        session.welcome()
        return session

    return connect
