"""The reports of one stream, from their arrival to their acknowledgement."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import DatabaseUnavailable, FieldViolation, InvalidFields
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.core.unit_report import Report
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.execution_units.report_handler import ReportHandler, ignore_error
from taskplane.server.execution_units.session import Session

log = logging.getLogger(__name__)

# Done when a report is durable, or has failed.
Result = asyncio.Future[Any]


@dataclass(slots=True)
class _PendingReport:
    sequence: int
    # None for a report that is only acknowledged.
    report: Report | None
    # None until the report is submitted.
    result: Result | None

    def needs_submit(self) -> bool:
        """Return True before the first submit, and after the database was unavailable."""
        return self.result is None or (self.result.done() and _database_is_away(self.result))

    def is_submitted(self) -> bool:
        return self.result is not None and not self.result.done()


class ReportPipeline:
    """Submits reports as they arrive, without a coroutine for each, and acknowledges them in order.

    Results arrive in the order of submission, so only the first pending report needs a check. While the database is
    unavailable, the pipeline is blocked and the stream stays open; afterwards all failed reports are submitted again,
    in order. `run` raises every other error.
    """

    def __init__(
        self, session: Session, link: StreamLink, report_handler: ReportHandler, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self._session = session
        self._link = link
        self._report_handler = report_handler
        self._tuning = tuning
        self._pending: deque[_PendingReport] = deque()
        self._last_sequence = 0
        # Set while the database is unavailable, and for good after another failure.
        self._blocked = asyncio.Event()
        self._failure: Exception | None = None
        self._advanced = asyncio.Event()
        # The result of reports without a transaction.
        self._no_op: Result = asyncio.get_running_loop().create_future()
        self._no_op.set_result(None)

    def check_sequence(self, sequence: int) -> None:
        """Raise InvalidFields unless this is the next sequence."""
        if sequence != self._last_sequence + 1:
            wanted = f"must be {self._last_sequence + 1}, one more than the last; got {sequence}"
            raise InvalidFields(FieldViolation("reports.sequence", wanted))
        self._last_sequence = sequence

    @property
    def has_room(self) -> bool:
        """Return True if few enough reports are unacknowledged, and the unit reads its commands."""
        return not self._is_full and not self._link.is_congested

    async def wait_for_room(self) -> None:
        """Wait until there is room for a report.

        Until then the stream is not read, heartbeats included. If the server is the cause, the lease is extended.
        """
        while not self.has_room:
            is_full = self._is_full
            self._advanced.clear()
            unread_since = monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tuning.unread_seconds):
                    await self._advanced.wait()
            if is_full:
                self._report_handler.extend_lease(self._session, monotonic() - unread_since)

    def add(self, report: Report) -> None:
        """Add the next report."""
        pending = _PendingReport(report.sequence, report, None)
        self._pending.append(pending)
        if self._report_handler.apply_in_memory(self._session, report):
            pending.result = self._no_op
            self._advance()
        elif not self._blocked.is_set():
            self._submit(pending)

    def skip(self, sequence: int) -> None:
        """Acknowledge the next report in order, without any other effect."""
        self._pending.append(_PendingReport(sequence, None, self._no_op))
        self._advance()

    async def run(self) -> NoReturn:
        """Submit reports again after an outage of the database, forever. Raises the error of a failed report."""
        while True:
            await self._blocked.wait()
            if self._failure:
                raise self._failure
            # Nothing may overtake the reports that are still submitted; most likely they fail as well.
            if submitted := [each.result for each in self._pending if each.result and each.is_submitted()]:
                await asyncio.wait(submitted)
            await asyncio.sleep(self._tuning.report_retry_seconds)
            self._blocked.clear()
            for each in self._pending:
                if each.needs_submit():
                    self._submit(each)

    def close(self) -> None:
        """Drop the pending reports, which the unit will repeat. Submitted reports are still applied."""
        for each in self._pending:
            if each.result:
                each.result.remove_done_callback(self._advance)
                each.result.add_done_callback(ignore_error)
        self._pending.clear()

    @property
    def _is_full(self) -> bool:
        return len(self._pending) >= self._tuning.max_unacknowledged

    def _submit(self, pending: _PendingReport) -> None:
        if pending.report:
            pending.result = self._report_handler.submit(self._session, pending.report)
            pending.result.add_done_callback(self._advance)

    def _advance(self, _answer: Result | None = None) -> None:
        """Acknowledge the settled reports at the head of the queue."""
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
        """Return True if the error settles the report. Otherwise the pipeline is blocked."""
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


def _database_is_away(result: Result) -> bool:
    return isinstance(result.exception(), DatabaseUnavailable)
