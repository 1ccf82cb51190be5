"""The gRPC API of TaskService."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.task import Checkpoint
from taskplane.server.core.verbs import CallContext
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.idempotency.responses import StoredResponses
from taskplane.server.rpc import task_requests as read
from taskplane.server.rpc.conversion import convert_page, convert_task, read_request
from taskplane.server.rpc.deadlines import read_seconds, wait_until
from taskplane.server.rpc.fitting import as_many_as_fit, created_batch, fitting_checkpoints
from taskplane.server.rpc.messages import (
    batch_result_message,
    checkpoint_message,
    command_message,
    transition_message,
    watch_messages,
)
from taskplane.server.services.batch_control import BatchControl
from taskplane.server.services.stalls import WRITE_SECONDS, StallGuard
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.view import TaskView
from taskplane.server.services.watch_events import rendered
from taskplane.server.services.watching import WatchService
from taskplane.server.store.reading import COUNT_CAP
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1 import task_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_Response = TypeVar("_Response", bound=Message)
_Verb = Callable[[int, CallContext, IdempotencyKey | None, float | None], Awaitable[TaskView]]


class TaskServicer(pb_grpc.TaskServiceServicer):
    """The methods of TaskService: each reads the request, calls a service and returns a message."""

    def __init__(
        self, tasks: TaskService, batches: BatchControl, watches: WatchService, responses: StoredResponses
    ) -> None:
        self._tasks = tasks
        self._batches = batches
        self._watches = watches
        self._responses = responses

    async def CreateTask(self, request: pb.CreateTaskRequest, context: Context) -> pb.CreateTaskResponse:
        spec, caller = await read_request(request, read.creation, request)

        async def create(key: IdempotencyKey | None) -> pb.CreateTaskResponse:
            (view,) = await self._tasks.create([spec], caller, key)
            return pb.CreateTaskResponse(task=await convert_task(view))

        return await self._once(request, create, pb.CreateTaskResponse)

    async def BatchCreateTasks(
        self, request: pb.BatchCreateTasksRequest, context: Context
    ) -> pb.BatchCreateTasksResponse:
        specs, caller = await read_request(request, read.batch_creation, request)

        async def create(key: IdempotencyKey | None) -> pb.BatchCreateTasksResponse:
            views = await self._tasks.create(specs, caller, key)
            return await read_request(request, created_batch, views)

        return await self._once(request, create, pb.BatchCreateTasksResponse)

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        view = await self._tasks.get(read.task_id(request))
        return pb.GetTaskResponse(task=await convert_task(view, with_checkpoint_data=True))

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        query = replace(read.query(request), seconds=read_seconds(context))
        page = await self._tasks.list(query)
        tasks = await convert_page(page.tasks)
        return pb.ListTasksResponse(
            tasks=tasks,
            next_page_token=page.next_token if len(tasks) == len(page.tasks) else query.token_after(tasks[-1].id),
            total=min(page.total or 0, COUNT_CAP),
            total_is_capped=(page.total or 0) > COUNT_CAP,
        )

    async def StartTask(self, request: pb.StartTaskRequest, context: Context) -> pb.StartTaskResponse:
        return await self._verb(self._tasks.start, request, context, pb.StartTaskResponse)

    async def PauseTask(self, request: pb.PauseTaskRequest, context: Context) -> pb.PauseTaskResponse:
        return await self._verb(self._tasks.pause, request, context, pb.PauseTaskResponse)

    async def ResumeTask(self, request: pb.ResumeTaskRequest, context: Context) -> pb.ResumeTaskResponse:
        resume = partial(self._tasks.resume, checkpoint_number=request.checkpoint_number)
        return await self._verb(resume, request, context, pb.ResumeTaskResponse)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: Context) -> pb.CancelTaskResponse:
        return await self._verb(self._tasks.cancel, request, context, pb.CancelTaskResponse)

    async def RestartTask(self, request: pb.RestartTaskRequest, context: Context) -> pb.RestartTaskResponse:
        restart = partial(self._tasks.restart, checkpoint_number=request.checkpoint_number)
        return await self._verb(restart, request, context, pb.RestartTaskResponse)

    async def DeleteTask(self, request: pb.DeleteTaskRequest, context: Context) -> pb.DeleteTaskResponse:
        task_id, caller = read.deletion(request)

        async def delete(key: IdempotencyKey | None) -> pb.DeleteTaskResponse:
            await self._tasks.delete(task_id, caller, key)
            return pb.DeleteTaskResponse()

        return await self._once(request, delete, pb.DeleteTaskResponse)

    async def WatchTasks(  # type: ignore[override]  # the stub knows generators only; a coroutine cleans up at once
        self, request: pb.WatchTasksRequest, context: Context
    ) -> None:
        """Write serialised messages, which the handler's serializer passes on."""
        with StallGuard(WRITE_SECONDS) as guard:
            async with aclosing(self._watches.watch(read.watch(request), guard)) as events:
                async for event in events:
                    for message in await rendered(event, watch_messages):
                        try:
                            await guard.write(context.write(message))
                        except grpc.aio.InternalError as error:
                            # The reader left in the middle of a message.
                            raise asyncio.CancelledError from error

    async def ListTaskTransitions(
        self, request: pb.ListTaskTransitionsRequest, context: Context
    ) -> pb.ListTaskTransitionsResponse:
        page = await self._tasks.transitions(*read.page(request))
        transitions = as_many_as_fit(transition_message(each) for each in page.items)
        return pb.ListTaskTransitionsResponse(
            transitions=transitions, next_page_token=page.token_after(len(transitions))
        )

    async def ListTaskCheckpoints(
        self, request: pb.ListTaskCheckpointsRequest, context: Context
    ) -> pb.ListTaskCheckpointsResponse:
        task_id, number = read.checkpoints(request)
        found = await self._tasks.checkpoints(task_id, number)
        checkpoints = await off_loop(_checkpoint_messages, found, has_number=bool(number))
        return pb.ListTaskCheckpointsResponse(checkpoints=checkpoints)

    async def UpdateTask(self, request: pb.UpdateTaskRequest, context: Context) -> pb.UpdateTaskResponse:
        task_id, caller, new = read.update(request)

        async def update(key: IdempotencyKey | None) -> pb.UpdateTaskResponse:
            return pb.UpdateTaskResponse(task=await convert_task(await self._tasks.update(task_id, caller, key, new)))

        return await self._once(request, update, pb.UpdateTaskResponse)

    async def BatchControlTasks(
        self, request: pb.BatchControlTasksRequest, context: Context
    ) -> pb.BatchControlTasksResponse:
        order, caller = read.batch_control(request)
        order = replace(order, seconds=read_seconds(context))

        async def control(key: IdempotencyKey | None) -> pb.BatchControlTasksResponse:
            errors = await self._batches.control(order, caller, key)
            return pb.BatchControlTasksResponse(results=[batch_result_message(*each) for each in errors.items()])

        if order.validate_only:
            return await control(None)
        return await self._once(request, control, pb.BatchControlTasksResponse)

    async def ListTaskCommands(
        self, request: pb.ListTaskCommandsRequest, context: Context
    ) -> pb.ListTaskCommandsResponse:
        page = await self._tasks.commands(*read.page(request))
        commands = as_many_as_fit(command_message(each) for each in page.items)
        return pb.ListTaskCommandsResponse(commands=commands, next_page_token=page.token_after(len(commands)))

    async def _verb(
        self,
        verb: _Verb,
        request: read.VerbRequest,
        context: Context,
        response_type: type[_Response],
    ) -> _Response:
        task_id, caller, _ = read.verb(request)
        until = None if request.no_wait else wait_until(context)

        async def call(key: IdempotencyKey | None) -> _Response:
            view = await verb(task_id, caller, key, until)
            return response_type(task=await convert_task(view, with_checkpoint_data=True))

        return await self._once(request, call, response_type)

    async def _once(
        self,
        request: read.MutatingRequest,
        call: Callable[[IdempotencyKey | None], Awaitable[_Response]],
        response_type: type[_Response],
    ) -> _Response:
        """Make a call, or return the first response to it if it is a repeat."""
        key = read.idempotency_key(request)
        return await self._responses.call(key, call, _serialized, response_type.FromString)


def add_to_server(servicer: TaskServicer, server: Any) -> None:
    """Register TaskService. WatchTasks writes bytes: an event for many watchers is serialised once."""
    watch: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        servicer.WatchTasks,
        request_deserializer=pb.WatchTasksRequest.FromString,
        response_serializer=bytes,
    )
    pb_grpc.add_TaskServiceServicer_to_server(servicer, server)
    # gRPC uses the last registered handler of a method.
    service = pb.DESCRIPTOR.services_by_name["TaskService"].full_name
    server.add_registered_method_handlers(service, {"WatchTasks": watch})


def _serialized(response: Message) -> bytes:
    return response.SerializeToString()


def _checkpoint_messages(found: Sequence[Checkpoint], *, has_number: bool) -> list[task_pb2.TaskCheckpoint]:
    if has_number:
        return [checkpoint_message(each, with_data=True) for each in found]
    return fitting_checkpoints(found)
