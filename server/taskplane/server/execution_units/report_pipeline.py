"""The reports of one stream, from their arrival to their acknowledgement."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import DatabaseUnavailable, FieldViolation, InvalidFields
from taskplane.server.core.unit_report import Report
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.execution_units.report_handler import RETRY_SECONDS, ReportHandler
from taskplane.server.execution_units.session import Session

log = logging.getLogger(__name__)

# Reports that may wait for their commit. A unit that sends more is not read until some are durable.
MAX_UNACKNOWLEDGED = 1000
# How often the lease of a unit that is not read is made longer; well below any lease.
UNREAD_SECONDS = 0.2

# Done when a report is durable, or with the error.
Result = asyncio.Future[Any]


@dataclass(slots=True)
class _PendingReport:
    sequence: int
    # None: nothing of it is to be done.
    report: Report | None
    # None until it is proposed.
    result: Result | None

    def needs_submit(self) -> bool:
        """Whether it was not proposed yet, or the database was away."""
        return self.result is None or (self.result.done() and _database_is_away(self.result))

    def is_submitted(self) -> bool:
        return self.result is not None and not self.result.done()


class ReportPipeline:
    """Proposes reports as they come, without a coroutine for each, and acknowledges them in their order.

    Answers come in the order of proposals, many at a time, so it is enough to look at the head of the line whenever
    one has come. While the database is away the line stands, and the stream stays up; then all that it could not take
    is proposed again, in order. `run` raises whatever else goes wrong.
    """

    def __init__(self, session: Session, link: StreamLink, report_handler: ReportHandler) -> None:
        self._session = session
        self._link = link
        self._report_handler = report_handler
        self._pending: deque[_PendingReport] = deque()
        self._last_sequence = 0
        # Set while the line stands: because the database is away, or for good if there is a failure.
        self._blocked = asyncio.Event()
        self._failure: Exception | None = None
        self._advanced = asyncio.Event()
        # The result to what is taken without a proposal.
        self._no_op: Result = asyncio.get_running_loop().create_future()
        self._no_op.set_result(None)

    def check_sequence(self, sequence: int) -> None:
        """Raise InvalidFields unless this is the report after the last one."""
        if sequence != self._last_sequence + 1:
            wanted = f"must be {self._last_sequence + 1}, one more than the last; got {sequence}"
            raise InvalidFields(FieldViolation("reports.sequence", wanted))
        self._last_sequence = sequence

    @property
    def has_room(self) -> bool:
        """Whether few enough reports wait for their commit, and the unit reads what they bring about."""
        return not self._is_full and not self._link.is_congested

    async def wait_for_room(self) -> None:
        """Wait until there is room.

        Whatever the unit says is not read meanwhile, its heartbeats too. While the reason is on this side, that is no
        silence of its.
        """
        while not self.has_room:
            is_full = self._is_full
            self._advanced.clear()
            unread_since = monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self._advanced.wait()
            if is_full:
                self._report_handler.extend_lease(self._session, monotonic() - unread_since)

    def add(self, report: Report) -> None:
        """Take the next report on."""
        pending = _PendingReport(report.sequence, report, None)
        self._pending.append(pending)
        if self._report_handler.apply_in_memory(self._session, report):
            pending.result = self._no_op
            self._advance()
        elif not self._blocked.is_set():
            self._submit(pending)

    def skip(self, sequence: int) -> None:
        """Acknowledge the next report in its turn, and do nothing else about it."""
        self._pending.append(_PendingReport(sequence, None, self._no_op))
        self._advance()

    async def run(self) -> NoReturn:
        """Propose again what the database could not take, for ever. Raises what a report fails with."""
        while True:
            await self._blocked.wait()
            if self._failure:
                raise self._failure
            # These fail too, most likely, and nothing is to overtake them.
            if under_way := [each.result for each in self._pending if each.result and each.is_submitted()]:
                await asyncio.wait(under_way)
            await asyncio.sleep(RETRY_SECONDS)
            self._blocked.clear()
            for each in self._pending:
                if each.needs_submit():
                    self._submit(each)

    def close(self) -> None:
        """Forget what waits: the unit will say it again. What is under way is done all the same."""
        for each in self._pending:
            if each.result:
                each.result.remove_done_callback(self._advance)
                each.result.add_done_callback(_ignore_error)
        self._pending.clear()

    @property
    def _is_full(self) -> bool:
        return len(self._pending) >= MAX_UNACKNOWLEDGED

    def _submit(self, pending: _PendingReport) -> None:
        if pending.report:
            pending.result = self._report_handler.submit(self._session, pending.report)
            pending.result.add_done_callback(self._advance)

    def _advance(self, _answer: Result | None = None) -> None:
        """Acknowledge what is settled at the head of the line."""
        settled = 0
        while self._pending and (result := self._pending[0].result) and result.done():
            report = self._pending[0].report
            if report and (error := result.exception()) and not self._is_settled_by(error, report):
                break
            settled = self._pending.popleft().sequence
        if settled:
            self._link.acknowledge(settled)
            self._advanced.set()

    def _is_settled_by(self, error: BaseException, report: Report) -> bool:
        """Whether the report is settled by its error. If not, the line stands."""
        try:
            self._report_handler.handle_error(self._session, report, error)
        except DatabaseUnavailable as away:
            if not self._blocked.is_set():
                log.debug("report %s of unit %s waits: %s", report.sequence, self._session.unit_id, away.message)
        except Exception as failure:  # noqa: BLE001  (raised by `run`)
            self._failure = failure
        else:
            return True
        self._blocked.set()
        return False


def _ignore_error(result: Result) -> None:
    if not result.cancelled():
        result.exception()  # asked for, so that it is not logged


def _database_is_away(result: Result) -> bool:
    return isinstance(result.exception(), DatabaseUnavailable)
