"""The unit: what it is, what it runs, and running it."""

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
from taskplane.unit.executors import TaskType
from taskplane.unit.http.link import HttpLink, Site
from taskplane.unit.life import Life, MakeLink
from taskplane.unit.link import Link
from taskplane.unit.signals import stop_on_signals
from taskplane.unit.stopping import SafePoints
from taskplane.v1.execution_unit_control_pb2 import Hello
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

_DEFAULT_SERVER = "127.0.0.1:50051"
_DEFAULT_HTTP_SERVER = "http://127.0.0.1:3000"
_PROTOCOL_VERSION = 1

C = TypeVar("C", bound=Callable[..., Any])


class Unit:
    """A process that runs tasks for a taskplane server.

    `server` is HOST:PORT; without it the environment's TASKPLANE_SERVER counts, else 127.0.0.1:50051. `capacity` is
    how many tasks run at once; a paused task takes no slot. With an `id` of its own a unit keeps its tasks over a
    restart of its process; without one the server gives it one for its lifetime. `drain_seconds` bounds how long it
    takes to leave. Wrong values are found by the server, and `run` raises UnitRejected with their names.
    """

    def __init__(  # noqa: PLR0913 - what a unit is
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
        self._task_types: dict[str, TaskType] = {}
        self._lock = threading.Lock()
        self._life: Life | None = None
        self._is_stopped = False

    def task(
        self,
        task_type: str,
        *,
        config: ConfigReader | None = None,
        can_pause: bool = True,
        can_checkpoint: bool | None = None,
    ) -> Callable[[C], C]:
        """Registers the decorated coroutine, function or class as what runs tasks of a type.

        `config` makes an object of the task's config: a dataclass, a pydantic model, or any callable that takes the
        dict. What it refuses fails the task without a retry. `can_pause=False`: PauseTask is refused for this type.
        `can_checkpoint=False`: it always begins from the start, and stops at any report. `can_checkpoint=True`: pause
        and drain take hold only at a checkpoint or at `safe_point`. Without a word on it the server is told True, and a
        report without a checkpoint stops only an executor that shows no safe point for 5 s after it was asked to stop.
        """
        if task_type in self._task_types:
            raise ValueError(f"there is an executor for {task_type} already")

        def register(code: C) -> C:
            methods = ClassMethods(code, can_pause=can_pause) if inspect.isclass(code) else None
            if methods is None:
                check_function(code)
            self._task_types[task_type] = TaskType(
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
        """Runs until `stop`, SIGTERM, SIGINT or an operator's drain; a second signal ends the process at once.

        Raises UnitRejected if the server refuses the unit. While another process has its id, the unit waits for that.
        """
        asyncio.run(self._run_with_signals(partial(Link, self._server)))

    async def run_async(self) -> None:
        """As `run`, in a loop that runs already. Signals are left to whoever owns the loop: call `stop`."""
        await self._live(partial(Link, self._server))

    def serve_http(
        self, port: int, host: str = "127.0.0.1", *, server: str | None = None, endpoint: str | None = None
    ) -> None:
        """As `run`, but driven over HTTP: listens at host and port (0 picks one), registers there, and calls back.

        `server` is the base URL of the server's REST API; without it the environment's TASK_MANAGER_URL counts, else
        http://127.0.0.1:3000. `endpoint` is the URL by which the server reaches the unit, if it is not where it
        listens. Raises UnitRejected, and OSError if the port is taken.
        """
        site = Site(server or os.environ.get("TASK_MANAGER_URL") or _DEFAULT_HTTP_SERVER, host, port, endpoint)
        asyncio.run(self._run_with_signals(partial(HttpLink, site)))

    def stop(self) -> None:
        """Drains: gives attempts back at their next safe point, then `run` returns. From any thread, at any time."""
        with self._lock:
            self._is_stopped = True
            if self._life is not None:
                self._life.leave(self._drain_seconds)

    async def _run_with_signals(self, make_link: MakeLink) -> None:
        with stop_on_signals(self.stop):
            await self._live(make_link)

    async def _live(self, make_link: MakeLink) -> None:
        if not self._task_types:
            raise ValueError("the unit runs no task type: decorate an executor with @unit.task(...)")
        life = Life(make_link, self._hello(), self._task_types, self._drain_seconds)
        with self._lock:
            self._life = life
            if self._is_stopped:
                life.leave(self._drain_seconds)
        try:
            await life.live()
        finally:
            with self._lock:
                self._life = None

    def _hello(self) -> Hello:
        support = [
            TaskTypeSupport(task_type=kind.name, can_pause=kind.can_pause, can_checkpoint=kind.can_checkpoint)
            for kind in self._task_types.values()
        ]
        introduction = Hello(task_types=support)
        introduction.MergeFrom(self._introduction)
        return introduction
