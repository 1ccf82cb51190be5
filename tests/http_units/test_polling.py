"""Status polls of a link, without a server."""

import asyncio
from collections.abc import Collection

from http_units.scripted_unit import ScriptedUnit, always

from taskplane.server.core.command import AttemptKey, Command
from taskplane.server.core.unit_report import Accepted, Outcome, Rejected
from taskplane.server.execution_units.links.http_client import UnitClient
from taskplane.server.execution_units.links.http_polling import StatusPoller


class StuckObserver:
    """An observer that never finishes, as while the database is away."""

    def __init__(self) -> None:
        self.times_heard = 0
        self.told_of: list[AttemptKey] = []

    def on_response(self) -> None:
        self.times_heard += 1

    def on_no_response(self) -> None:
        raise AssertionError("the unit answers")

    def is_silent(self) -> bool:
        return True

    def lease_seconds(self) -> float:
        return 30.0

    def running_attempts(self) -> Collection[AttemptKey]:
        return [(1, 1)]

    def accepted_attempts(self) -> Collection[AttemptKey]:
        return [(1, 1)]

    async def on_command_answered(self, command: Command, kind: Accepted | Rejected) -> None:
        raise AssertionError("nothing was commanded")

    async def on_outcome(self, key: AttemptKey, outcome: Outcome) -> None:
        self.told_of.append(key)
        await asyncio.Event().wait()

    async def on_attempt_unknown(self, key: AttemptKey) -> None:
        raise AssertionError("it is known")


async def test_a_unit_is_heard_on_while_its_last_words_cannot_be_stored(unit: ScriptedUnit) -> None:
    unit.on("status", always(200, {"status": "RUNNING", "progress": 0.5}))
    observer = StuckObserver()
    async with UnitClient(unit.endpoint) as client:
        polling = asyncio.create_task(StatusPoller(client, observer, interval=0.05).run())
        await unit.expect("status", task_id=1)
        for _ in range(3):
            await unit.expect("status", task_id=0)  # a probe
        polling.cancel()
        await asyncio.wait({polling})
    assert observer.times_heard >= 3
    assert observer.told_of == [(1, 1)]
