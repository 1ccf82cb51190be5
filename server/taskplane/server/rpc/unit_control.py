"""The gRPC API of ExecutionUnitControl. Each stream has three coroutines: reader, writer, report pipeline.

The calls of HTTP units are converted, executed and converted back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, NoReturn

import grpc

from taskplane.server.core.clock import utc_now
from taskplane.server.core.command import Command
from taskplane.server.core.documents import LARGE_BYTES
from taskplane.server.core.errors import (
    FieldViolation,
    HelloExpected,
    HelloTimeout,
    InvalidFields,
    ServerStopping,
    TaskplaneError,
)
from taskplane.server.core.loop_budget import LoopBudget
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.core.unit_report import Failed, Failure, Report
from taskplane.server.execution_units.callbacks import Callbacks
from taskplane.server.execution_units.http_units import HttpUnits
from taskplane.server.execution_units.links.stream import RejectedReport, StreamLink
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.report_pipeline import ReportPipeline
from taskplane.server.execution_units.session import Session
from taskplane.server.rpc.bounds import MAX_CAPACITY
from taskplane.server.rpc.conversion import is_heavy_start, read_request, start_problem
from taskplane.server.rpc.messages import seconds_message, status_of, unit_message
from taskplane.server.rpc.unit_messages import read_hello, server_messages, verdict_message
from taskplane.server.rpc.unit_reports import MAX_REPORTS, described, read_report
from taskplane.server.rpc.unit_requests import read_heartbeat, read_registration, read_unit_id
from taskplane.server.rpc.validation import Checker
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_control_pb2_grpc as pb_grpc

log = logging.getLogger(__name__)

# Reports that are read in one iteration of the event loop, of all units and of one unit. A report takes about 50 µs.
# Lower limits would spread the reports of one message over several transactions.
REPORTS_AT_ONCE = 250
_REPORTS_IN_A_TURN = 250

Context = grpc.aio.ServicerContext[Any, Any]
_Check = Callable[[Command], Awaitable[bool]]


class _StreamEnded(Exception):
    """The unit has closed or lost the stream. Ends the other coroutines of the stream."""


class UnitControlServicer(pb_grpc.ExecutionUnitControlServicer):
    """Serves the streams of units and the calls of HTTP units.

    When the server stops, its units reconnect at once; `is_stopping` refuses them.
    """

    def __init__(  # noqa: PLR0913  (the services of its methods, and its times)
        self,
        units: ExecutionUnitManager,
        report_handler: ReportHandler,
        http_units: HttpUnits,
        callbacks: Callbacks,
        *,
        is_stopping: Callable[[], bool],
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._units = units
        self._tuning = tuning
        self._report_handler = report_handler
        self._http_units = http_units
        self._callbacks = callbacks
        self._is_stopping = is_stopping
        self._loop_budget = LoopBudget(REPORTS_AT_ONCE)

    async def Connect(  # type: ignore[override]  # the stub allows generators only; a coroutine cleans up at once
        self, request_iterator: AsyncIterator[pb.UnitMessage], context: Context
    ) -> None:
        hello_message = await _first_message(request_iterator, self._tuning.hello_seconds)
        hello = await read_request(hello_message, read_hello, hello_message)
        if self._is_stopping():
            raise ServerStopping
        link = StreamLink(context.peer())
        session = await self._units.connect(hello, link)
        try:
            await self._serve_stream(session, link, request_iterator, context)
        finally:
            await self._units.disconnect(session)

    async def RegisterUnit(self, request: pb.RegisterUnitRequest, context: Context) -> pb.RegisterUnitResponse:
        unit = await self._http_units.register(await read_request(request, read_registration, request))
        intervals = self._units.intervals
        return pb.RegisterUnitResponse(
            unit=unit_message(unit),
            heartbeat_interval=seconds_message(intervals.heartbeat),
            lease_duration=seconds_message(intervals.lease),
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        return pb.HeartbeatResponse(unit=unit_message(await self._http_units.heartbeat(*read_heartbeat(request))))

    async def ReportTaskStatus(
        self, request: pb.ReportTaskStatusRequest, context: Context
    ) -> pb.ReportTaskStatusResponse:
        unit_id = read_unit_id(request)
        report = await read_request(request, _read_unary_report, request)
        answer = await self._callbacks.report(unit_id, report)
        return pb.ReportTaskStatusResponse(verdict=verdict_message(answer.verdict), status=status_of(answer.task))

    async def _serve_stream(
        self, session: Session, link: StreamLink, messages: AsyncIterator[pb.UnitMessage], context: Context
    ) -> None:
        pipeline = ReportPipeline(session, link, self._report_handler, self._tuning)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(link, context, partial(self._can_be_received, session)))
                group.create_task(pipeline.run())
                group.create_task(self._read(session, link, pipeline, messages))
        except BaseExceptionGroup as errors:
            # Unwrapped, since a group would become INTERNAL. Without its frames, which form a cycle and would keep the
            # last message until the next garbage collection.
            cause = _root_cause(errors.with_traceback(None))
            if not isinstance(cause, _StreamEnded):
                raise cause from None
        finally:
            pipeline.close()

    async def _read(
        self, session: Session, link: StreamLink, pipeline: ReportPipeline, messages: AsyncIterator[pb.UnitMessage]
    ) -> NoReturn:
        async for message in messages:
            self._units.renew_lease(session)
            match message.WhichOneof("body"):
                case "reports":
                    await self._take_reports(session, pipeline, link, message.reports)
                case "heartbeat":
                    link.acknowledge_heartbeat(message.heartbeat.number)
                case "capacity":
                    self._change_capacity(session, message.capacity.capacity)
                case "draining":
                    session.set_flags(draining=True)
                case "goodbye":
                    await self._units.goodbye(session, message.goodbye.reason[:1000])
                case "hello":
                    raise HelloExpected("a second hello")
                case None:
                    pass  # unknown to this version; the message has renewed the lease
        raise _StreamEnded

    async def _take_reports(
        self, session: Session, pipeline: ReportPipeline, link: StreamLink, message: pb.Reports
    ) -> None:
        check = Checker()
        check.few("reports", message.reports, at_most=MAX_REPORTS)
        check.done()
        now = utc_now()
        may_be_large = message.ByteSize() > LARGE_BYTES
        for index, each in enumerate(message.reports):
            if index % _REPORTS_IN_A_TURN == 0:
                await self._loop_budget.acquire(min(_REPORTS_IN_A_TURN, len(message.reports) - index))
            pipeline.check_sequence(each.sequence)
            if not pipeline.has_room:
                await pipeline.wait_for_room()
            read = partial(read_report, each, now, f"reports[{index}]")
            try:
                # Reports are small, as a rule, and a coroutine for each costs more than reading it.
                report = await read_request(each, read) if may_be_large else read()
            except InvalidFields as error:
                _reject(session, link, each, described(error.violations))
                report = None
            if report:
                pipeline.add(report)
            else:
                pipeline.skip(each.sequence)

    async def _can_be_received(self, session: Session, command: Command) -> bool:
        """Fail the task if its start exceeds the limits of messages: older servers accepted larger documents."""
        if not is_heavy_start(command):
            return True
        problem = await off_loop(start_problem, command)
        if problem:
            session.mark_answered(command.command_id)
            failed = Failed(Failure(problem, not_retryable=True))
            await self._report_handler.handle(session, Report(0, *command.key, "", utc_now(), failed))
        return problem is None

    def _change_capacity(self, session: Session, capacity: int) -> None:
        check = Checker()
        check.number("capacity.capacity", capacity, at_least=0, at_most=MAX_CAPACITY)
        check.done()
        self._units.change_capacity(session, capacity)


async def _first_message(messages: AsyncIterator[pb.UnitMessage], seconds: float) -> pb.Hello:
    try:
        async with asyncio.timeout(seconds):
            message = await anext(messages, None)
    except TimeoutError:
        raise HelloTimeout(f"no hello for {seconds:g} s; send it first") from None
    body = message.WhichOneof("body") if message else "nothing"
    if message is None or body != "hello":
        raise HelloExpected(body or "an unknown body")
    return message.hello


def _reject(session: Session, link: StreamLink, report: pb.Report, message: str) -> None:
    rejected = RejectedReport(report.sequence, report.task_id, report.attempt, message)
    if link.reject(rejected) == 1:
        text = "unit %s: the first report of session %s that is refused, %s"
        log.warning(text, session.unit_id, session.session_id, rejected)


def _read_unary_report(request: pb.ReportTaskStatusRequest) -> Report:
    """Read the report of a unary call, whose sender can correct invalid fields."""
    report = read_report(request.report, utc_now(), "report", can_be_corrected=True)
    if report is None:
        raise InvalidFields(FieldViolation("report.kind", "is required, and must be one that this server knows"))
    return report


async def _all_can_be_received(_: Command) -> bool:
    return True


async def _write(link: StreamLink, context: Context, can_be_received: _Check = _all_can_be_received) -> NoReturn:
    while True:
        outgoing = await link.next()
        if any(map(is_heavy_start, outgoing.commands)):
            outgoing.commands = [each for each in outgoing.commands if await can_be_received(each)]
            messages = await off_loop(server_messages, outgoing)
        else:
            messages = server_messages(outgoing)
        for message in messages:
            try:
                await context.write(message)
            except grpc.aio.InternalError as error:
                # The stream is broken, which the reader has not seen yet.
                raise _StreamEnded from error


def _root_cause(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the stream: a TaskplaneError first, the end of the stream last."""
    leaves: list[BaseException] = []
    groups: list[BaseException] = [errors]
    while groups:
        each = groups.pop()
        if isinstance(each, BaseExceptionGroup):
            groups += each.exceptions
        else:
            leaves.append(each)
    return min(leaves, key=lambda each: (isinstance(each, _StreamEnded), not isinstance(each, TaskplaneError)))
