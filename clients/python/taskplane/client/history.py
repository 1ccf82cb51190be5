"""What became of a task: its transitions, checkpoints and commands."""

from collections.abc import Iterator

from taskplane.client.calls import Calls, all_pages
from taskplane.v1.task_pb2 import TaskCheckpoint, TaskTransition
from taskplane.v1.task_service_pb2 import (
    ListTaskCheckpointsRequest,
    ListTaskCommandsRequest,
    ListTaskCommandsResponse,
    ListTaskTransitionsRequest,
    ListTaskTransitionsResponse,
    TaskCommand,
)


class HistoryCalls(Calls):
    """The part of Client for a task's past."""

    def list_task_transitions(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[TaskTransition]:
        """The task's whole history, oldest first; `timeout` is for each page."""

        def fetch(token: str) -> ListTaskTransitionsResponse:
            return self.list_task_transitions_page(task_id, page_size=page_size, page_token=token, timeout=timeout)

        for page in all_pages(fetch):
            yield from page.transitions

    def list_task_transitions_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskTransitionsResponse:
        """One page of the history, oldest first."""
        request = ListTaskTransitionsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return self._call(self._tasks.ListTaskTransitions, request, timeout)

    def list_task_checkpoints(
        self, task_id: int, *, number: int = 0, timeout: float | None = None
    ) -> list[TaskCheckpoint]:
        """The checkpoints that are kept, newest first, or only the one of that number.

        If they are large, only the newest come with their data; another's is had by its number.
        """
        request = ListTaskCheckpointsRequest(task_id=task_id, number=number)
        return list(self._call(self._tasks.ListTaskCheckpoints, request, timeout).checkpoints)

    def list_task_commands(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[TaskCommand]:
        """Every pause, resume and cancel command of the task, newest first; `timeout` is for each page."""

        def fetch(token: str) -> ListTaskCommandsResponse:
            return self.list_task_commands_page(task_id, page_size=page_size, page_token=token, timeout=timeout)

        for page in all_pages(fetch):
            yield from page.commands

    def list_task_commands_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskCommandsResponse:
        """One page of the commands, newest first."""
        request = ListTaskCommandsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return self._call(self._tasks.ListTaskCommands, request, timeout)
