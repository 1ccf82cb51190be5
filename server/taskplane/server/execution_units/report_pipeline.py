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
Answer = asyncio.Future[Any]


@dataclass(slots=True)
class _Waiting:
    sequence: int
    # None: nothing of it is to be done.
    report: Report | None
    # None until it is proposed.
    answer: Answer | None

    def must_be_proposed(self) -> bool:
        """Whether it was not proposed yet, or the database was away."""
        return self.answer is None or (self.answer.done() and _database_is_away(self.answer))

    def is_under_way(self) -> bool:
        return self.answer is not None and not self.answer.done()


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
        self._line: deque[_Waiting] = deque()
        self._last_sequence = 0
        # Set while the line stands: because the database is away, or for good if there is a failure.
        self._stands = asyncio.Event()
        self._failure: Exception | None = None
        self._has_moved = asyncio.Event()
        # The answer to what is taken without a proposal.
        self._taken: Answer = asyncio.get_running_loop().create_future()
        self._taken.set_result(None)

    def check_sequence(self, sequence: int) -> None:
        """Raise InvalidFields unless this is the report after the last one."""
        if sequence != self._last_sequence + 1:
            wanted = f"must be {self._last_sequence + 1}, one more than the last; got {sequence}"
            raise InvalidFields(FieldViolation("reports.sequence", wanted))
        self._last_sequence = sequence

    @property
    def has_room(self) -> bool:
        """Whether few enough reports wait for their commit, and the unit reads what they bring about."""
        return not self._is_full and not self._link.is_crowded

    async def room(self) -> None:
        """Wait until there is room.

        Whatever the unit says is not read meanwhile, its heartbeats too. While the reason is on this side, that is no
        silence of its.
        """
        while not self.has_room:
            is_full = self._is_full
            self._has_moved.clear()
            unread_since = monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self._has_moved.wait()
            if is_full:
                self._report_handler.forgive(self._session, monotonic() - unread_since)

    def take(self, report: Report) -> None:
        """Take the next report on."""
        waiting = _Waiting(report.sequence, report, None)
        self._line.append(waiting)
        if self._report_handler.hear(self._session, report):
            waiting.answer = self._taken
            self._advance()
        elif not self._stands.is_set():
            self._propose(waiting)

    def pass_over(self, sequence: int) -> None:
        """Acknowledge the next report in its turn, and do nothing else about it."""
        self._line.append(_Waiting(sequence, None, self._taken))
        self._advance()

    async def run(self) -> NoReturn:
        """Propose again what the database could not take, for ever. Raises what a report fails with."""
        while True:
            await self._stands.wait()
            if self._failure:
                raise self._failure
            # These fail too, most likely, and nothing is to overtake them.
            if under_way := [each.answer for each in self._line if each.answer and each.is_under_way()]:
                await asyncio.wait(under_way)
            await asyncio.sleep(RETRY_SECONDS)
            self._stands.clear()
            for each in self._line:
                if each.must_be_proposed():
                    self._propose(each)

    def close(self) -> None:
        """Forget what waits: the unit will say it again. What is under way is done all the same."""
        for each in self._line:
            if each.answer:
                each.answer.remove_done_callback(self._advance)
                each.answer.add_done_callback(_overlook)
        self._line.clear()

    @property
    def _is_full(self) -> bool:
        return len(self._line) >= MAX_UNACKNOWLEDGED

    def _propose(self, waiting: _Waiting) -> None:
        if waiting.report:
            waiting.answer = self._report_handler.propose(self._session, waiting.report)
            waiting.answer.add_done_callback(self._advance)

    def _advance(self, _answer: Answer | None = None) -> None:
        """Acknowledge what is settled at the head of the line."""
        settled = 0
        while self._line and (answer := self._line[0].answer) and answer.done():
            report = self._line[0].report
            if report and (error := answer.exception()) and not self._copes_with(error, report):
                break
            settled = self._line.popleft().sequence
        if settled:
            self._link.acknowledge(settled)
            self._has_moved.set()

    def _copes_with(self, error: BaseException, report: Report) -> bool:
        """Whether the report is settled by its error. If not, the line stands."""
        try:
            self._report_handler.refused(self._session, report, error)
        except DatabaseUnavailable as away:
            if not self._stands.is_set():
                log.debug("report %s of unit %s waits: %s", report.sequence, self._session.unit_id, away.message)
        except Exception as failure:  # noqa: BLE001  (raised by `run`)
            self._failure = failure
        else:
            return True
        self._stands.set()
        return False


def _overlook(answer: Answer) -> None:
    if not answer.cancelled():
        answer.exception()  # asked for, so that it is not logged


def _database_is_away(answer: Answer) -> bool:
    return isinstance(answer.exception(), DatabaseUnavailable)
