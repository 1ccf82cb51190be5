"""The common gRPC services: health, reflection, channelz, with the same guards as taskplane's services."""

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc_channelz.v1 import channelz, channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from taskplane.server.core.errors import Code, TaskplaneError
from taskplane.server.rpc.guarding import Context, GuardingServer

_CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name
_STATUSES = health_pb2.HealthCheckResponse
# Its type stubs lack `List`.
_LISTS: Any = health_pb2


class NotFound(TaskplaneError):
    """The requested name does not exist in a common service."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class HealthServicer(health_pb2_grpc.HealthServicer):
    """grpc.health.v1.Health with explicitly set statuses.

    Unlike the servicer of grpcio-health-checking, this servicer supports `List`, stores no names from callers, and ends
    its watches when the server stops: an open watch would use the whole grace of the stop.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {"": _STATUSES.SERVING}
        self._changed = asyncio.Condition()
        self._is_stopping = False
        self._has_ended = False

    async def set(self, service: str, status: Any) -> None:
        """Set the status of a service; without effect once the server stops."""
        async with self._changed:
            if not self._is_stopping:
                self._statuses[service] = status
                self._changed.notify_all()

    async def enter_graceful_shutdown(self) -> None:
        """Set every service to NOT_SERVING for good."""
        async with self._changed:
            self._is_stopping = True
            self._statuses = dict.fromkeys(self._statuses, _STATUSES.NOT_SERVING)
            self._changed.notify_all()

    async def end(self) -> None:
        """End all watches, and every later one at its start."""
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:  # noqa: D102, N802
        if (status := self._statuses.get(request.service)) is None:
            raise NotFound(f"there is no service {request.service[:100]!r} here")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, request: Any, context: Context) -> Any:  # noqa: D102, N802
        statuses = {name: health_pb2.HealthCheckResponse(status=each) for name, each in self._statuses.items()}
        return _LISTS.HealthListResponse(statuses=statuses)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: D102, N802
        told = None
        while True:
            async with self._changed:
                while not self._has_ended and self._status(request.service) == told:
                    await self._changed.wait()
                status = self._status(request.service)
            if status == told:
                return
            told = status
            await context.write(health_pb2.HealthCheckResponse(status=status))

    def _status(self, service: str) -> Any:
        return self._statuses.get(service, _STATUSES.SERVICE_UNKNOWN)


def add_common_services(
    server: GuardingServer,
    health_servicer: HealthServicer,
    names: Sequence[str],
    *,
    with_reflection: bool,
    with_channelz: bool,
) -> None:
    """Add the common services to a server; `names` are its own services."""
    guarding: Any = server
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, guarding)
    names = [*names, health.SERVICE_NAME]
    if with_channelz:
        channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), guarding)
        names.append(_CHANNELZ)
    if with_reflection:
        servicer = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME])
        add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # has no types
        add(servicer, guarding)
