"""The marker `alone`: while a test that measures waits runs, the other workers of pytest-xdist wait."""

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


class Floor:
    """A lock, shared by ordinary tests and exclusive for a test marked `alone`.

    Workers are processes, so both locks are files: the floor, and a door. The worker that waits for the floor holds
    the door, so that later tests cannot overtake a test marked `alone`.
    """

    def __init__(self, door: Path, floor: Path) -> None:
        self._door = os.open(door, os.O_RDONLY)
        self._floor = os.open(floor, os.O_RDONLY)
        self.is_entered = False

    def enter(self, *, alone: bool) -> None:
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self.is_entered = True

    def leave(self) -> None:
        fcntl.flock(self._floor, fcntl.LOCK_UN)
        self.is_entered = False

    def close(self) -> None:
        os.close(self._door)
        os.close(self._floor)


class AlonePlugin:
    """The plugin of each worker. Consecutive tests marked `alone` keep the floor."""

    def __init__(self) -> None:
        self._floor = Floor(Path(__file__).parent, Path(__file__))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        if not self._floor.is_entered:
            self._floor.enter(alone=_is_alone(item))
        try:
            return (yield)
        finally:
            if not (_is_alone(item) and _is_alone(nextitem)):
                self._floor.leave()


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None
