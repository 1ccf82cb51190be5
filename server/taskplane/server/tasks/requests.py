"""Idempotency: a request id is answered once, and a repeat is told what the first call was told.

Nearly all requests are new, so that is what each is taken for. Only when one is refused, or its id cannot be stored
since it is there already, it is looked up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskplane.server.core.errors import RequestIdReused, TaskplaneError
from taskplane.server.core.task import Task
from taskplane.server.store.answers import Refusal, StoredRequest
from taskplane.server.store.writing import WriteTransaction
from taskplane.server.tasks.unit_of_work import Mutation, UnitOfWork


@dataclass(frozen=True, slots=True)
class Request:
    """The idempotency key of a call: the caller's id, and what it was used for."""

    request_id: str
    method: str
    # SHA-256 of the body, in hex.
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of a call that was made before: nothing was done.

    `answer` is what the caller was told then, if that is kept; `tasks` are those it was about, as they are now, and
    `gone` the ids of those that were deleted meanwhile. `command_id` is the command that it waited for, if any.
    """

    tasks: list[Task]
    command_id: str = ""
    answer: bytes | None = None
    gone: tuple[int, ...] = ()
    # Of a bulk call: the tasks for which it had no effect.
    refusals: tuple[Refusal, ...] = ()


class AnsweredRequests:
    """Which requests of a group were answered before: earlier in the group, or in the database if they are looked up.

    To store an answer to one that was answered before, and not looked up, makes the transaction fail.
    """

    def __init__(self, transaction: WriteTransaction) -> None:
        self._transaction = transaction
        self._known: dict[str, StoredRequest] = {}
        self._new: list[StoredRequest] = []

    def look_up(self, request_ids: Sequence[str]) -> set[int]:
        """Find requests in the database. Returns the tasks that those were about that were answered before."""
        found = self._transaction.requests(request_ids)
        self._known.update(found)
        return {task_id for each in found.values() for task_id in each.task_ids}

    def answer(self, mutation: Mutation[Any], request: Request | None, work: UnitOfWork) -> Any:
        """Let a proposal decide, unless its request was answered before. Returns its answer, or the error it raised."""
        before = len(work.committed)
        try:
            if request and (replayed := self._replay(request, work)):
                return replayed
            answer = mutation.decide(work)
        except RequestIdReused as error:
            return error
        except TaskplaneError as error:
            return self._repeated(request, work) or error
        if request:
            changed = [each.task.id for each in work.committed[before:]]
            pending = answer.pending_command if isinstance(answer, Task) else None
            task_ids = tuple(dict.fromkeys([*mutation.task_ids(), *changed]))
            self._remember(request, task_ids, pending.command_id if pending else "", _refusals_of(answer))
        return answer

    def write(self, now: datetime) -> None:
        """Write the requests that were answered for the first time."""
        self._transaction.insert_requests(self._new, now)

    def _repeated(self, request: Request | None, work: UnitOfWork) -> Replayed | RequestIdReused | None:
        """Look whether a call that is refused is a repeat, which is refused only because the first had its effect."""
        if request is None:
            return None
        work.load(self.look_up([request.request_id]))
        try:
            return self._replay(request, work)
        except RequestIdReused as error:
            return error

    def _replay(self, request: Request, work: UnitOfWork) -> Replayed | None:
        """Return the answer if the request was answered before; RequestIdReused if it was another request."""
        stored = self._known.get(request.request_id)
        if stored is None:
            return None
        if (stored.method, stored.fingerprint) != (request.method, request.fingerprint):
            raise RequestIdReused(request.request_id, stored.method)
        tasks = [task for task_id in stored.task_ids if (task := work.find(task_id))]
        gone = tuple(task_id for task_id in stored.task_ids if work.find(task_id) is None)
        return Replayed(tasks, stored.command_id, stored.answer, gone, stored.refusals)

    def _remember(
        self, request: Request, task_ids: tuple[int, ...], command_id: str, refusals: tuple[Refusal, ...]
    ) -> None:
        key = request.request_id, request.method, request.fingerprint
        stored = StoredRequest(*key, task_ids, command_id, refusals=refusals)
        self._known[request.request_id] = stored
        self._new.append(stored)


def _refusals_of(answer: Any) -> tuple[Refusal, ...]:
    """Return the refusals of a bulk call, whose answer is the error of each task; there are none of other calls."""
    if not isinstance(answer, dict):
        return ()
    return tuple(
        Refusal(task_id, error.code, error.reason, error.message)
        for task_id, error in answer.items()
        if isinstance(error, TaskplaneError)
    )
