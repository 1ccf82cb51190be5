"""The lock behind the marker `alone`."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Thread

import pytest
from support.alone import Floor

PATIENCE_SECONDS = 20.0


@pytest.fixture
def door(tmp_path: Path) -> Path:
    path = tmp_path / "door"
    path.touch()
    return path


@pytest.fixture
def another_worker(door: Path, tmp_path: Path) -> Iterator[Callable[[], Floor]]:
    with ExitStack() as floors:
        yield lambda: floors.enter_context(closing(Floor(door, tmp_path)))


def entering(floor: Floor, *, alone: bool) -> Event:
    """Enter on a thread; the event is set once the floor is entered."""
    entered = Event()

    def enter() -> None:
        floor.enter(alone=alone)
        entered.set()

    Thread(target=enter, daemon=True).start()
    return entered


def is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_ordinary_tests_run_beside_each_other(another_worker: Callable[[], Floor]) -> None:
    another_worker().enter(alone=False)
    assert entering(another_worker(), alone=False).wait(PATIENCE_SECONDS)


def test_a_test_alone_waits_for_earlier_tests_and_keeps_later_ones_out(
    another_worker: Callable[[], Floor], door: Path
) -> None:
    earlier, alone, later = another_worker(), another_worker(), another_worker()
    earlier.enter(alone=False)
    alone_entered = entering(alone, alone=True)
    while not is_held(door):
        pass
    later_entered = entering(later, alone=False)
    assert not alone_entered.is_set()
    earlier.leave()
    assert alone_entered.wait(PATIENCE_SECONDS)
    assert not later_entered.is_set()
    alone.leave()
    assert later_entered.wait(PATIENCE_SECONDS)
