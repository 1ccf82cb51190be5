"""The gRPC server and its channel options."""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from taskplane.protocol.channel import KEEPALIVE_OPTIONS
from taskplane.server.rpc import task_service
from taskplane.server.rpc.common_services import HealthServicer, add_common_services
from taskplane.server.rpc.guarding import GuardingServer
from taskplane.server.rpc.operations_service import OperationsServicer
from taskplane.server.rpc.sizes import MAX_MESSAGE_BYTES
from taskplane.server.rpc.task_service import TaskServicer
from taskplane.server.rpc.unit_control import UnitControlServicer
from taskplane.v1 import (
    execution_unit_control_pb2,
    execution_unit_control_pb2_grpc,
    operations_service_pb2,
    operations_service_pb2_grpc,
    task_service_pb2,
)

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Calls and streams on a connection: more than the limit of watches, and few enough that all of them, starting or
    # ending at once, delay no other caller for long. Further calls wait at the client.
    ("grpc.max_concurrent_streams", 2500),
    # With the probe, gRPC would read ahead megabytes of each stream: gigabytes for a thousand unread streams.
    ("grpc.http2.bdp_probe", 0),
    # A second server on the same port must fail, not share its connections.
    ("grpc.so_reuseport", 0),
    # Both ends ping, to detect dead connections; clients may ping every 10 s.
    *KEEPALIVE_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    # Connections without a handshake, or without calls, are closed.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
)
SERVICES = (
    task_service_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name,
    execution_unit_control_pb2.DESCRIPTOR.services_by_name["ExecutionUnitControl"].full_name,
    operations_service_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name,
)


class RpcServer:
    """All gRPC services on a port."""

    def __init__(self, *, with_reflection: bool, with_channelz: bool, max_connections: int) -> None:
        options = [*OPTIONS, ("grpc.max_allowed_incoming_connections", max_connections)]
        self._server = grpc.aio.server(options=options)
        self._health = HealthServicer()
        self._is_ready = False
        self._has_started = False
        self._with_reflection = with_reflection
        self._with_channelz = with_channelz

    def bind(self, address: str) -> int:
        """Listen without serving yet: calls wait. Returns the port. Raises OSError if the address is in use."""
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        return port

    async def start(self, tasks: TaskServicer, units: UnitControlServicer, operations: OperationsServicer) -> None:
        """Serve."""
        # The generated code uses only the methods that GuardingServer has.
        guarding: Any = GuardingServer(self._server)
        task_service.add_to_server(tasks, guarding)
        execution_unit_control_pb2_grpc.add_ExecutionUnitControlServicer_to_server(units, guarding)
        operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(operations, guarding)
        add_common_services(
            guarding,
            self._health,
            SERVICES,
            with_reflection=self._with_reflection,
            with_channelz=self._with_channelz,
        )
        await self._server.start()
        self._has_started = True
        await self.show_ready(is_ready=True)

    async def show_ready(self, *, is_ready: bool) -> None:
        """Set the health of the server and of each service."""
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            statuses = health_pb2.HealthCheckResponse
            for name in ("", *SERVICES):
                await self._health.set(name, statuses.SERVING if is_ready else statuses.NOT_SERVING)

    async def refuse_new_work(self) -> None:
        """Set the health to NOT_SERVING for the rest of the server's life."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let pending calls end, and abort them after the grace."""
        await self._health.end()
        if not self._has_started:
            # gRPC releases a port only after serving.
            await self._server.start()
        await self._server.stop(grace_seconds)
