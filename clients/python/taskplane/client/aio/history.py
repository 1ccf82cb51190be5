"""What became of a task; see `taskplane.client.history`."""

from collections.abc import AsyncIterator

from taskplane.client.aio.calls import AsyncCalls, all_pages
from taskplane.v1.task_pb2 import TaskCheckpoint, TaskTransition
from taskplane.v1.task_service_pb2 import (
    ListTaskCheckpointsRequest,
    ListTaskCommandsRequest,
    ListTaskCommandsResponse,
    ListTaskTransitionsRequest,
    ListTaskTransitionsResponse,
    TaskCommand,
)


class AsyncHistoryCalls(AsyncCalls):
    """The part of AsyncClient for a task's past."""

    async def list_task_transitions(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[TaskTransition]:
        """The task's whole history, oldest first; `timeout` is for each page."""

        async def fetch(token: str) -> ListTaskTransitionsResponse:
            return await self.list_task_transitions_page(
                task_id, page_size=page_size, page_token=token, timeout=timeout
            )

        async for page in all_pages(fetch):
            for transition in page.transitions:
                yield transition

    async def list_task_transitions_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskTransitionsResponse:
        """One page of the history, oldest first."""
        request = ListTaskTransitionsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return await self._call(self._tasks.ListTaskTransitions, request, timeout)

    async def list_task_checkpoints(
        self, task_id: int, *, number: int = 0, timeout: float | None = None
    ) -> list[TaskCheckpoint]:
        """The checkpoints that are kept, newest first, or only the one of that number.

        If they are large, only the newest come with their data; another's is had by its number.
        """
        request = ListTaskCheckpointsRequest(task_id=task_id, number=number)
        return list((await self._call(self._tasks.ListTaskCheckpoints, request, timeout)).checkpoints)

    async def list_task_commands(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[TaskCommand]:
        """Every pause, resume and cancel command of the task, newest first; `timeout` is for each page."""

        async def fetch(token: str) -> ListTaskCommandsResponse:
            return await self.list_task_commands_page(task_id, page_size=page_size, page_token=token, timeout=timeout)

        async for page in all_pages(fetch):
            for command in page.commands:
                yield command

    async def list_task_commands_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskCommandsResponse:
        """One page of the commands, newest first."""
        request = ListTaskCommandsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return await self._call(self._tasks.ListTaskCommands, request, timeout)
