"""Guards around all methods: errors become gRPC statuses, and requests are limited."""

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
# Bytes; the message of the status has the whole text.
_MAX_PRECONDITION = 300
_CROWDED = FieldViolation("request", "has more fields than any of its method may have: tasks, reports, labels")
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class GuardingServer:
    """A server for the generated code, which adds services to it; each method gets a guard.

    A TaskplaneError becomes its status and details, and any other error INTERNAL without its text. An undecodable
    request is INVALID_ARGUMENT (gRPC alone: UNKNOWN). A request above the method's size is refused before decoding.
    An interceptor, which gRPC asks for every call, would cost a tenth of a small call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ignore the handlers: the generated code passes the same methods to `add_registered_method_handlers`."""

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
    """Return a decoder that returns errors as requests: errors raised in a decoder never reach a behaviour."""
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
    """Return a request, or raise the error that the decoder returned."""
    if isinstance(request, TaskplaneError):
        raise request
    return request


class _Decoded:
    """The requests of a stream, or the error that the decoder returned."""

    def __init__(self, requests: AsyncGenerator[Any]) -> None:
        self._requests = requests

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _decoded(await anext(self._requests))


def _reading(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a behaviour that reads a stream, so that the last request is freed at the end; gRPC's reader keeps it."""
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
    """Wrap a behaviour, so that it responds UNAVAILABLE before the caller's deadline if the database is silent."""

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
    """Expire a timer after seconds. If the loop is late, a wait within the call ends now, and responds first."""
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
        # gRPC's objects of an aborted call form a cycle with this frame: the request would stay in memory until the
        # next garbage collection, which does not count bytes.
        del request
        return await _abort(context, error)

    return call


def _without_frames(error: Exception) -> Exception:
    """Return the error without its frames, and log an unexpected error."""
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
    """Return google.rpc.Status with ErrorInfo and, if applicable, BadRequest, PreconditionFailure, RetryInfo."""
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
