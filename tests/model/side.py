"""The real side of the comparison: a server in this process, a client, and an obedient unit."""

import asyncio
import itertools
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import grpc
from model.reference import Order, Shown
from rpc.raw_unit import RawUnit, hello
from rpc.refusals import read_refusal
from rpc.server import ServerUnderTest, Wire, eventually, status_name

from taskplane.v1 import execution_unit_control_pb2 as control
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.execution_unit_pb2 import EXECUTION_UNIT_STATUS_OFFLINE, TaskTypeSupport
from taskplane.v1.operations_service_pb2 import GetUnitRequest
from taskplane.v1.task_pb2 import COMMAND_VERB_UNSPECIFIED, CommandVerb, Task

T = TypeVar("T")


class Stage:
    """A server for all examples, and the loop of server and callers: the loop runs only within `do`."""

    def __init__(self, database_url: str) -> None:
        self._runner = asyncio.Runner()
        self._server = ServerUnderTest(database_url)
        self._numbers = itertools.count(1)
        self.do(self._server.start())
        self.wire = self.do(self._connected())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    def next_name(self) -> str:
        """Return a name for the task type and the unit of an example, so that examples do not meet."""
        return f"model-{next(self._numbers)}"

    def close(self) -> None:
        """Stop the server."""
        self.do(self.wire.channel.close())
        self.do(self._server.stop())
        self._runner.close()

    async def slots_agree(self) -> None:
        """Wait until the slots in memory equal the table: a transaction may be in progress."""
        await eventually(self._slot_differences, lambda found: not found)

    async def _slot_differences(self) -> list[str]:
        server = self._server.running
        assignments = server._units._registry.slots.assignments
        in_slots = {(each.task_id, each.attempt, each.unit_id) for each in assignments.all() if each.has_slot}
        differs = in_slots ^ {*await server._store.running_attempts()}
        return [*server._units._registry.slots.problems(), *map(str, differs)]

    async def _connected(self) -> Wire:
        return Wire(self._server.address)


class Refusal(Exception):
    """A call was refused; the text is the reason in ErrorInfo."""


class Side:
    """The tasks and the unit of one example. `inventory` is the content of the unit, by task."""

    def __init__(self, stage: Stage, capacity: int) -> None:
        self.name = stage.next_name()
        self.inventory: dict[int, int] = {}
        self.states: dict[int, control.AttemptState.ValueType] = {}
        self._wire = stage.wire
        self._capacity = capacity
        self._unit: RawUnit | None = None
        # The obeyed commands of this session, and the last of each kind for a task.
        self._obeyed: set[str] = set()
        self._last: dict[tuple[int, str], control.Command] = {}

    # As a client.

    async def create(self, spec: pb.TaskSpec, request_id: str) -> Task:
        request = pb.CreateTaskRequest(task=spec, context=pb.RequestContext(request_id=request_id))
        return (await self._wire.tasks.CreateTask(request)).task

    async def call(self, verb: str, request: Any) -> Task | None:
        """Call a verb; return the task of the response, None for delete. Raises Refusal."""
        try:
            answer = await getattr(self._wire.tasks, f"{verb}Task")(request)
        except grpc.aio.AioRpcError as error:
            raise Refusal(read_refusal(error).reason) from error
        return getattr(answer, "task", None)

    async def shown(self) -> dict[int, Shown]:
        """Return all tasks, as a list shows them."""
        request = pb.ListTasksRequest(filter=pb.TaskFilter(task_types=[self.name]), page_size=1000)
        return {task.id: shown(task) for task in (await self._wire.tasks.ListTasks(request)).tasks}

    async def history(self, task: int) -> list[str]:
        """Return the statuses of a task, oldest first."""
        return await self._wire.statuses(task)

    # As the unit.

    async def connect(self) -> dict[int, str]:
        """Connect with the whole inventory. Return the verdicts, and obey them."""
        self._unit = RawUnit(self._wire.units)
        self._obeyed.clear()
        held = [
            control.HeldAttempt(task_id=task, attempt=attempt, state=self.states[task])
            for task, attempt in self.inventory.items()
        ]
        support = [TaskTypeSupport(task_type=self.name, can_pause=True, can_checkpoint=True)]
        await self._unit.say(hello=hello(self.name, capacity=self._capacity, task_types=support, inventory=held))
        welcome = await self._unit.welcomed()
        verdicts = {each.task_id: control.VerdictAction.Name(each.action)[15:] for each in welcome.verdicts}
        for task in [task for task, verdict in verdicts.items() if verdict == "DROP"]:
            self.forget(task)
        return verdicts

    async def break_off(self) -> None:
        """Loses the connection, and waits for the server to notice."""
        await self._connected().break_off()
        await self._offline()

    async def leave(self) -> None:
        """Say goodbye, with running attempts or without."""
        unit = self._connected()
        await unit.say(goodbye=control.Goodbye())
        await unit.half_close()
        await self._offline()
        self.inventory.clear()

    async def obey(self, order: Order, *, refuse: bool) -> None:
        """Wait for a command, and accept or reject it."""
        unit = self._connected()

        def found() -> control.Command | None:
            return next((each for each in unit.commands if self._is(each, order)), None)

        await unit._until(lambda: found() is not None, f"{order}")
        command = found()
        assert command is not None
        self._obeyed.add(command.command_id)
        self._last[order.task, order.kind] = command
        if refuse:
            await unit.reject(command, control.REJECT_REASON_OTHER)
            self.forget(order.task)
        else:
            await unit.accept(command)
            if order.kind in ("start", "resume"):
                self.inventory[order.task] = order.attempt
                self.states[order.task] = control.ATTEMPT_STATE_RUNNING
        await unit.all_acknowledged()

    async def report(self, task: int, attempt: int, **kind: Any) -> None:
        """Report, and wait until the report is durable."""
        unit = self._connected()
        await unit.report(control.HeldAttempt(task_id=task, attempt=attempt), **kind)
        await unit.all_acknowledged()

    async def reject(self, task: int, kind: str, reason: control.RejectReason.ValueType) -> bool:
        """Take back the acceptance of the last pause or cancel of a task. Return False if there was none."""
        command = self._last.get((task, kind))
        if command is None:
            return False
        await self._connected().reject(command, reason)
        await self._connected().all_acknowledged()
        return True

    def forget(self, task: int) -> None:
        """Note that the unit has no attempt of a task any longer."""
        self.inventory.pop(task, None)

    def unexpected(self, tasks: Mapping[int, Shown], held: Mapping[int, int]) -> list[control.Command]:
        """Return the unexpected commands: any but repeats, and drops of finished attempts."""
        if self._unit is None:
            return []
        return [
            each
            for each in self._unit.commands
            if each.command_id not in self._obeyed and not (each.HasField("drop") and _is_over(each, tasks, held))
        ]

    def _is(self, command: control.Command, order: Order) -> bool:
        is_new = command.command_id not in self._obeyed
        named = (command.task_id, command.attempt, command.WhichOneof("order"))
        return is_new and named == (order.task, order.attempt, order.kind)

    def _connected(self) -> RawUnit:
        assert self._unit is not None
        return self._unit

    async def _offline(self) -> None:
        self._unit = None
        request = GetUnitRequest(unit_id=self.name)

        async def status() -> int:
            return (await self._wire.operations.GetUnit(request)).unit.status

        await eventually(status, lambda found: found == EXECUTION_UNIT_STATUS_OFFLINE)


def shown(task: Task) -> Shown:
    """Return the compared fields of a task."""
    verb = task.pending_command.verb
    pending = "" if verb == COMMAND_VERB_UNSPECIFIED else CommandVerb.Name(verb).removeprefix("COMMAND_VERB_")
    is_queued = task.HasField("queued_at")
    return Shown(status_name(task.status), task.attempt, is_queued, pending, task.retry_count, task.checkpoint.number)


def _is_over(drop: control.Command, tasks: Mapping[int, Shown], held: Mapping[int, int]) -> bool:
    """Return whether a dropped attempt is neither at work nor held paused."""
    task = tasks.get(drop.task_id)
    is_at_work = task is not None and task.attempt == drop.attempt and task.status == "RUNNING"
    return not is_at_work and held.get(drop.task_id) != drop.attempt
