"""Errors to gRPC statuses, in one place for all methods."""

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, Self

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from taskplane.server.core.error_bounds import shortened
from taskplane.server.core.errors import (
    DatabaseSilent,
    FieldViolation,
    InvalidFields,
    RequestTooLarge,
    TaskplaneError,
)
from taskplane.server.rpc.deadlines import call_seconds
from taskplane.server.rpc.field_counts import TooManyFields, check_fields
from taskplane.server.rpc.sizes import CROWDED_BYTES, max_request_bytes, max_request_fields

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

DOMAIN = "taskplane"
_UNDECODABLE = FieldViolation(
    "request", "cannot be decoded: must be the method's message, its texts UTF-8, nested no deeper than protobuf allows"
)
# Bytes; the message of the status says the same in full.
_MAX_PRECONDITION = 300
_CROWDED = FieldViolation("request", "has more fields than any of its method may have: tasks, reports, labels")
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class GuardingServer:
    """A server as the generated code sees it when it adds a service: each method is wrapped on its way in.

    A TaskplaneError becomes its status and details, and anything unexpected INTERNAL without a text. A request that
    cannot be decoded, to which gRPC by itself would answer UNKNOWN, is INVALID_ARGUMENT. One with more bytes than its
    method takes is refused before it is decoded. An interceptor could do the same for errors, for a tenth of all that
    a small call costs: gRPC asks it anew for every call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Pass over them: the generated code hands the same methods to `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service."""
        guarded = {name: _with_guard(name, handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, guarded)


def _with_guard(name: str, handler: Any) -> Any:
    kind = next(kind for kind in _KINDS if getattr(handler, kind))
    behaviour = getattr(handler, kind)
    if kind == "unary_unary":
        behaviour = _timely(behaviour)
    if handler.request_streaming:
        behaviour = _reading(behaviour)
    guarded = _guarded(behaviour)
    decode = _decoder(handler.request_deserializer, name)
    return handler._replace(**{kind: guarded, "request_deserializer": decode})


def _decoder(decode: Callable[[bytes], Any], method: str) -> Callable[[bytes], Any]:
    """Return the error in place of a request that cannot be decoded: what is raised here does not reach a behaviour."""
    max_bytes = max_request_bytes(method)

    def decode_or_refuse(message: bytes) -> Any:
        if len(message) > max_bytes:
            return RequestTooLarge(len(message), max_bytes)
        try:
            if len(message) > CROWDED_BYTES:
                _check_crowd(decode, message, method)
            return decode(message)
        except DecodeError:
            return InvalidFields(_UNDECODABLE)
        except TooManyFields:
            return InvalidFields(_CROWDED)

    return decode_or_refuse


def _check_crowd(decode: Callable[[bytes], Any], message: bytes, method: str) -> None:
    check_fields(message, decode.__self__.DESCRIPTOR, *max_request_fields(method))  # type: ignore[attr-defined]


def _decoded(request: Any) -> Any:
    """Return a request, or raise the error that stands in its place."""
    if isinstance(request, TaskplaneError):
        raise request
    return request


class _Decoded:
    """The requests of a stream; raises the error that stands in the place of one."""

    def __init__(self, requests: AsyncGenerator[Any]) -> None:
        self._requests = requests

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _decoded(await anext(self._requests))


def _reading(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Let a behaviour read a stream of requests; the last one is not kept when it ends, as gRPC's own reader does."""
    if inspect.isasyncgenfunction(behaviour):

        @functools.wraps(behaviour)
        async def answer(requests: Any, context: Context) -> AsyncIterator[Any]:
            async with aclosing(aiter(requests)) as messages:
                async for response in behaviour(_Decoded(messages), context):
                    yield response

        return answer

    @functools.wraps(behaviour)
    async def read(requests: Any, context: Context) -> Any:
        async with aclosing(aiter(requests)) as messages:
            return await behaviour(_Decoded(messages), context)

    return read


def _timely(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Answer UNAVAILABLE before the caller's deadline when what the call needs hangs: a database that says nothing."""

    @functools.wraps(behaviour)
    async def call(request: Any, context: Context) -> Any:
        seconds, more_seconds = call_seconds(context)
        timer = asyncio.timeout(None)
        try:
            async with timer:
                warning = asyncio.get_running_loop().call_later(seconds, _end_after, timer, more_seconds)
                try:
                    return await behaviour(request, context)
                finally:
                    warning.cancel()
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise DatabaseSilent from error

    return call


def _end_after(timer: asyncio.Timeout, seconds: float) -> None:
    """Not at once: when the loop is late, a wait within the call ends in this same turn of it, and is to say so."""
    timer.reschedule(asyncio.get_running_loop().time() + seconds)


def _guarded(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behaviour):

        @functools.wraps(behaviour)
        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async with aclosing(behaviour(_decoded(request), context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as caught:  # noqa: BLE001  (answered, and logged if unexpected)
                error = _without_frames(caught)
            else:
                return
            del request
            await _abort(context, error)

        return stream

    @functools.wraps(behaviour)
    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(_decoded(request), context)
        except Exception as caught:  # noqa: BLE001  (answered, and logged if unexpected)
            error = _without_frames(caught)
        # gRPC's objects of an aborted call refer to each other, and with them to this frame: the request, and what it
        # was turned into, would stay until the garbage collector comes by, which does not count bytes.
        del request
        return await _abort(context, error)

    return call


def _without_frames(error: Exception) -> Exception:
    """Return the error to answer with, without the frames that it came through; one that is unexpected is logged."""
    if not isinstance(error, TaskplaneError | grpc.aio.AbortError):
        log.error("unexpected error", exc_info=error)
        return TaskplaneError("internal error; the server's log has the details")
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


async def _abort(context: Context, error: Exception) -> NoReturn:
    if not isinstance(error, TaskplaneError):
        raise error
    await context.abort_with_status(rpc_status.to_status(status_of(error)))


def status_of(error: TaskplaneError) -> status_pb2.Status:
    """Return google.rpc.Status with ErrorInfo and, where they apply, BadRequest, PreconditionFailure, RetryInfo."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    if error.violations:
        _add(status, _bad_request(error))
    if status.code == code_pb2.FAILED_PRECONDITION:
        _add(status, _precondition_failure(error))
    if error.retry_delay_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_delay_seconds * 1e9))
        _add(status, retry)
    return status


def _bad_request(error: TaskplaneError) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in error.violations
        ]
    )


def _precondition_failure(error: TaskplaneError) -> error_details_pb2.PreconditionFailure:
    subject = error.metadata.get("task_id") or error.metadata.get("unit_id", "")
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=subject, description=shortened(error.message, _MAX_PRECONDITION)
    )
    return error_details_pb2.PreconditionFailure(violations=[violation])


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
