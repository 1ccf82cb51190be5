"""`Unit`: the declaration of a unit, and the ways to run it."""

import asyncio
import inspect
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from taskplane.unit.class_methods import ClassMethods, check_function
from taskplane.unit.config import ConfigReader
from taskplane.unit.executors import RegisteredTaskType
from taskplane.unit.http.connection import HttpAddresses, HttpConnection
from taskplane.unit.runtime import ConnectionFactory, UnitRuntime
from taskplane.unit.safe_points import SafePoints
from taskplane.unit.signals import stop_on_signals
from taskplane.unit.stream.connection import StreamConnection
from taskplane.v1.execution_unit_control_pb2 import Hello
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

_DEFAULT_SERVER = "127.0.0.1:50051"
_DEFAULT_HTTP_SERVER = "http://127.0.0.1:3000"
_PROTOCOL_VERSION = 1

C = TypeVar("C", bound=Callable[..., Any])


class Unit:
    """A process that runs tasks for a taskplane server.

    `server` is HOST:PORT; the default is the environment's TASKPLANE_SERVER, else 127.0.0.1:50051. `capacity` is the
    number of tasks that run at once; a paused task takes no slot. With an `id`, a unit keeps its tasks over a restart
    of its process; without one, the server assigns an id for the lifetime of the process. `labels` can be required by
    tasks. `drain_seconds` bounds the time of `stop`. The server checks the values: `run` raises UnitRejected, which
    names the wrong ones.
    """

    def __init__(  # noqa: PLR0913 - the properties of a unit
        self,
        *,
        name: str,
        type: str,  # noqa: A002 - the word of the API
        capacity: int = 1,
        server: str | None = None,
        id: str | None = None,  # noqa: A002 - ditto
        labels: Mapping[str, str] | None = None,
        drain_seconds: float = 30.0,
    ) -> None:
        self._introduction = Hello(
            protocol_version=_PROTOCOL_VERSION,
            unit_id=id or "",
            boot_id=str(uuid.uuid4()),
            unit_type=type,
            unit_name=name,
            capacity=capacity,
            labels=labels or {},
            sdk=f"taskplane-python {version('taskplane')}",
        )
        self._server = server or os.environ.get("TASKPLANE_SERVER") or _DEFAULT_SERVER
        self._drain_seconds = drain_seconds
        self._task_types: dict[str, RegisteredTaskType] = {}
        self._lock = threading.Lock()
        self._runtime: UnitRuntime | None = None
        self._is_stopped = False

    def task(
        self,
        task_type: str,
        *,
        config: ConfigReader | None = None,
        can_pause: bool = True,
        can_checkpoint: bool | None = None,
    ) -> Callable[[C], C]:
        """Register the decorated coroutine, function or class as the executor of a task type.

        `config` converts the task's config: a dataclass, a pydantic model, or any callable that takes the dict. A
        config that `config` refuses fails the task without a retry. `can_pause=False`: PauseTask is refused for this
        type. `can_checkpoint=False`: the task always begins from the start, and any report may stop the work.
        `can_checkpoint=True`: pause and drain stop the work only at a checkpoint or at `safe_point`. By default the
        server sees True, and a report without a checkpoint stops the executor only if the type has shown no safe point
        for 5 s after the request to stop.

        Raises ValueError if the type has an executor, and TypeError for code with an unknown signature.
        """
        if task_type in self._task_types:
            raise ValueError(f"there is an executor for {task_type} already")

        def register(code: C) -> C:
            methods = ClassMethods(code, can_pause=can_pause) if inspect.isclass(code) else None
            if methods is None:
                check_function(code)
            self._task_types[task_type] = RegisteredTaskType(
                task_type,
                code,
                config,
                can_pause,
                can_checkpoint=can_checkpoint is not False,
                safe_points=SafePoints(can_checkpoint=can_checkpoint),
                methods=methods,
            )
            return code

        return register

    def run(self) -> None:
        """Run until `stop`, SIGTERM, SIGINT or an operator's drain; a second signal ends the process at once.

        While another process has the unit's id, the unit waits. Raises UnitRejected if the server refuses the unit, and
        ValueError if the unit has no task type.
        """
        asyncio.run(self._run_with_signals(partial(StreamConnection, self._server)))

    async def run_async(self) -> None:
        """Run like `run`, in the running event loop. Signals are left to the owner of the loop, who calls `stop`."""
        await self._run(partial(StreamConnection, self._server))

    def serve_http(
        self, port: int, host: str = "127.0.0.1", *, server: str | None = None, endpoint: str | None = None
    ) -> None:
        """Run like `run`, as an HTTP unit: listen at host and port (0 picks one), register, and call back.

        `server` is the base URL of the server's REST API; the default is the environment's TASK_MANAGER_URL, else
        http://127.0.0.1:3000. `endpoint` is the URL by which the server reaches the unit; the default is made from host
        and port. Raises UnitRejected, and OSError if the port is in use.
        """
        addresses = HttpAddresses(
            server or os.environ.get("TASK_MANAGER_URL") or _DEFAULT_HTTP_SERVER, host, port, endpoint
        )
        asyncio.run(self._run_with_signals(partial(HttpConnection, addresses)))

    def stop(self) -> None:
        """Drain: release attempts at their next safe point, then let `run` return. From any thread, at any time."""
        with self._lock:
            self._is_stopped = True
            if self._runtime is not None:
                self._runtime.drain(self._drain_seconds)

    async def _run_with_signals(self, make_connection: ConnectionFactory) -> None:
        with stop_on_signals(self.stop):
            await self._run(make_connection)

    async def _run(self, make_connection: ConnectionFactory) -> None:
        if not self._task_types:
            raise ValueError("the unit runs no task type: decorate an executor with @unit.task(...)")
        runtime = UnitRuntime(make_connection, self._hello(), self._task_types, self._drain_seconds)
        with self._lock:
            self._runtime = runtime
            if self._is_stopped:
                runtime.drain(self._drain_seconds)
        try:
            await runtime.run()
        finally:
            with self._lock:
                self._runtime = None

    def _hello(self) -> Hello:
        support = [
            TaskTypeSupport(task_type=kind.name, can_pause=kind.can_pause, can_checkpoint=kind.can_checkpoint)
            for kind in self._task_types.values()
        ]
        introduction = Hello(task_types=support)
        introduction.MergeFrom(self._introduction)
        return introduction
