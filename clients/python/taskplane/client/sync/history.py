# Generated from ../aio/history.py by `make sync-client`. Do not edit.
"""The past of a task: its transitions, checkpoints and commands."""

from collections.abc import Iterator

from taskplane.client.sync.calls import Calls, all_pages
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
    """Calls for the past of a task."""

    def list_task_transitions(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[TaskTransition]:
        """Iterate over the task's changes of status, oldest first; `timeout` is for each page."""

        def fetch(token: str) -> ListTaskTransitionsResponse:
            return self.list_task_transitions_page(task_id, page_size=page_size, page_token=token, timeout=timeout)

        for page in all_pages(fetch):
            for transition in page.transitions:
                yield transition

    def list_task_transitions_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskTransitionsResponse:
        """Return one page of the changes of status, oldest first."""
        request = ListTaskTransitionsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return self._call(self._tasks.ListTaskTransitions, request, timeout)

    def list_task_checkpoints(
        self, task_id: int, *, number: int = 0, timeout: float | None = None
    ) -> list[TaskCheckpoint]:
        """Return the stored checkpoints, newest first, or only the checkpoint of this number.

        If checkpoints are large, only the newest have their data; an older checkpoint with its data is returned by
        `number`.
        """
        request = ListTaskCheckpointsRequest(task_id=task_id, number=number)
        response = self._call(self._tasks.ListTaskCheckpoints, request, timeout)
        return list(response.checkpoints)

    def list_task_commands(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[TaskCommand]:
        """Iterate over the pause, resume and cancel commands of the task, newest first; `timeout` is for each page."""

        def fetch(token: str) -> ListTaskCommandsResponse:
            return self.list_task_commands_page(task_id, page_size=page_size, page_token=token, timeout=timeout)

        for page in all_pages(fetch):
            for command in page.commands:
                yield command

    def list_task_commands_page(
        self,
        task_id: int,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> ListTaskCommandsResponse:
        """Return one page of the commands, newest first."""
        request = ListTaskCommandsRequest(task_id=task_id, page_size=page_size, page_token=page_token)
        return self._call(self._tasks.ListTaskCommands, request, timeout)
