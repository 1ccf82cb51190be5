"""The gRPC face of ExecutionUnitControl: one coroutine reads a unit's stream, one writes it, one sees to outages.

The calls of units without a stream are converted, made and converted back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc

from taskplane.server.core.clock import utc_now
from taskplane.server.core.errors import HelloExpected, HelloTimeout, ServerStopping, TaskplaneError
from taskplane.server.rpc.messages import seconds_message, status_of, unit_message
from taskplane.server.rpc.unit_messages import (
    MAX_CAPACITY,
    read_hello,
    read_report,
    server_messages,
    verdict_message,
)
from taskplane.server.rpc.unit_requests import read_heartbeat, read_registration, read_unit_id
from taskplane.server.rpc.validation import Checker
from taskplane.server.units.callbacks import Callbacks
from taskplane.server.units.http_units import HttpUnits
from taskplane.server.units.links.stream import StreamLink
from taskplane.server.units.manager import ExecutionUnitManager
from taskplane.server.units.report_line import ReportLine
from taskplane.server.units.reporting import ReportDesk
from taskplane.server.units.session import Session
from taskplane.v1 import execution_unit_control_pb2 as pb
from taskplane.v1 import execution_unit_control_pb2_grpc as pb_grpc

HELLO_TIMEOUT_SECONDS = 10.0

Context = grpc.aio.ServicerContext[Any, Any]


class _StreamEnded(Exception):
    """The unit's side is over: half-closed or broken. Ends the other coroutines of the stream."""


class UnitControlServicer(pb_grpc.ExecutionUnitControlServicer):
    """Holds the streams of all units, and takes the calls of those without one.

    Units whose streams ended because the server stops come back at once: while `is_stopping` they are sent away.
    """

    def __init__(
        self,
        units: ExecutionUnitManager,
        desk: ReportDesk,
        http_units: HttpUnits,
        callbacks: Callbacks,
        *,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._units = units
        self._desk = desk
        self._http_units = http_units
        self._callbacks = callbacks
        self._is_stopping = is_stopping

    async def Connect(  # type: ignore[override]  # the stub knows generators only; a coroutine cleans up at once
        self, request_iterator: AsyncIterator[pb.UnitMessage], context: Context
    ) -> None:
        hello = read_hello(await _first_message(request_iterator))
        if self._is_stopping():
            raise ServerStopping
        link = StreamLink(context.peer())
        session = await self._units.connect(hello, link)
        try:
            await self._converse(session, link, request_iterator, context)
        finally:
            await self._units.disconnect(session)

    async def RegisterUnit(self, request: pb.RegisterUnitRequest, context: Context) -> pb.RegisterUnitResponse:
        unit = await self._http_units.register(read_registration(request))
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
        answer = await self._callbacks.report(unit_id, read_report(request.report, utc_now(), "report"))
        return pb.ReportTaskStatusResponse(verdict=verdict_message(answer.verdict), status=status_of(answer.task))

    async def _converse(
        self, session: Session, link: StreamLink, messages: AsyncIterator[pb.UnitMessage], context: Context
    ) -> None:
        line = ReportLine(session, link, self._desk)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(link, context))
                group.create_task(line.run())
                group.create_task(self._read(session, link, line, messages))
        except BaseExceptionGroup as errors:
            # Unwrapped here: raised as a group, the answer to the unit would be INTERNAL. Without its frames, which
            # would refer to it and to the last message until the garbage collector comes by.
            cause = _cause(errors.with_traceback(None))
            if not isinstance(cause, _StreamEnded):
                raise cause from None
        finally:
            line.close()

    async def _read(
        self, session: Session, link: StreamLink, line: ReportLine, messages: AsyncIterator[pb.UnitMessage]
    ) -> NoReturn:
        async for message in messages:
            self._units.heard_from(session)
            match message.WhichOneof("body"):
                case "reports":
                    await _take_reports(line, message.reports)
                case "heartbeat":
                    link.answer_heartbeat(message.heartbeat.number)
                case "capacity":
                    self._change_capacity(session, message.capacity.capacity)
                case "draining":
                    session.mark(draining=True)
                case "goodbye":
                    await self._units.goodbye(session, message.goodbye.reason[:1000])
                case "hello":
                    raise HelloExpected("a second hello")
                case None:
                    pass  # a body that this server does not know yet; it has renewed the lease
        raise _StreamEnded

    def _change_capacity(self, session: Session, capacity: int) -> None:
        check = Checker()
        check.number("capacity.capacity", capacity, at_least=0, at_most=MAX_CAPACITY)
        check.done()
        self._units.change_capacity(session, capacity)


async def _first_message(messages: AsyncIterator[pb.UnitMessage]) -> pb.Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_SECONDS):
            message = await anext(messages, None)
    except TimeoutError:
        raise HelloTimeout(f"no hello for {HELLO_TIMEOUT_SECONDS:g} s; send it first") from None
    body = message.WhichOneof("body") if message else "nothing"
    if message is None or body != "hello":
        raise HelloExpected(body or "an unknown body")
    return message.hello


async def _take_reports(line: ReportLine, message: pb.Reports) -> None:
    now = utc_now()
    for each in message.reports:
        line.check_sequence(each.sequence)
        await line.room()
        line.take(read_report(each, now))


async def _write(link: StreamLink, context: Context) -> NoReturn:
    while True:
        for message in server_messages(await link.next()):
            try:
                await context.write(message)
            except grpc.aio.InternalError as error:
                # The stream broke before the reader has heard of it.
                raise _StreamEnded from error


def _cause(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended the stream: an error of ours before anything else, the mere end of the stream last."""
    leaves: list[BaseException] = []
    groups: list[BaseException] = [errors]
    while groups:
        each = groups.pop()
        if isinstance(each, BaseExceptionGroup):
            groups += each.exceptions
        else:
            leaves.append(each)
    return min(leaves, key=lambda each: (isinstance(each, _StreamEnded), not isinstance(each, TaskplaneError)))
