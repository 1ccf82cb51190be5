"""A unit connected to the server's unit manager without gRPC: the link is real, the test is the unit."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, Self

from support.builders import PATIENCE_SECONDS, TASK_TYPE

from taskplane.server.core.clock import utc_now
from taskplane.server.core.command import Command, Welcome
from taskplane.server.core.unit import DrainOrder, Hello, TaskTypeSupport
from taskplane.server.core.unit_report import Report, ReportKind
from taskplane.server.execution_units.links.stream import Outgoing, StreamLink
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session

HELLO = Hello(
    unit_id="unit-1",
    boot_id="boot-1",
    unit_type="DATA_PROCESSOR",
    unit_name="processor",
    capacity=1,
    task_types={TASK_TYPE: TaskTypeSupport(TASK_TYPE, can_pause=True, can_checkpoint=True)},
    labels={},
    sdk="test",
)


@dataclass
class ConnectedUnit:
    """A session: the received commands, and methods to report."""

    session: Session
    link: StreamLink
    report_handler: ReportHandler
    welcome: Welcome
    commands: list[Command] = field(default_factory=list)
    # Received with the welcome.
    drain: DrainOrder | None = None

    @classmethod
    async def connect(cls, units: ExecutionUnitManager, report_handler: ReportHandler, hello: Hello) -> Self:
        """Connect, and receive the welcome."""
        link = StreamLink()
        session = await units.connect(hello, link)
        first = await link.next()
        assert first.welcome, "the welcome comes first"
        return cls(session, link, report_handler, first.welcome, first.commands, first.drain)

    async def hears(self, count: int) -> list[Command]:
        """Wait for a number of commands since the last call or the welcome, and return them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.commands) < count:
                self.commands += (await self.link.next()).commands
        heard, self.commands = self.commands, []
        return heard

    async def next(self) -> Outgoing:
        """Wait for the next messages."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.link.next()

    async def says(self, command: Command, kind: ReportKind) -> None:
        """Report on the attempt of a command; return when the report is durable."""
        report = Report(
            sequence=0,
            task_id=command.task_id,
            attempt=command.attempt,
            command_id=command.command_id,
            received_at=utc_now(),
            kind=kind,
        )
        await self.report_handler.handle(self.session, report)


def a_hello(unit_id: str, **changes: Any) -> Hello:
    """Return the introduction of a unit with one slot."""
    return replace(HELLO, unit_id=unit_id, **changes)
