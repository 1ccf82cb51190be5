"""The calls with idempotency keys in one transaction: recorded together with their effects, and replayed.

Nearly all calls are new, so each is taken for new. A key is looked up in the database only after a refusal, or after a
transaction failed because the key exists.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from taskplane.server.core.errors import RequestIdReused, TaskplaneError
from taskplane.server.core.task import Task
from taskplane.server.idempotency.keys import IdempotencyKey, Replay, ResponseStored
from taskplane.server.store.keyed_calls import KeyedCall, Refusal
from taskplane.server.store.transaction import WriteTransaction


class _Event(Protocol):
    @property
    def task(self) -> Task: ...


class _Work(Protocol):
    """The tasks of the transaction, as the mutations so far have left them."""

    @property
    def events(self) -> Sequence[_Event]: ...
    def load(self, task_ids: Iterable[int]) -> None: ...
    def find(self, task_id: int) -> Task | None: ...


_AnyWork = TypeVar("_AnyWork", bound=_Work)
_AnyWork_contra = TypeVar("_AnyWork_contra", bound=_Work, contravariant=True)


class _Mutation(Protocol[_AnyWork_contra]):
    def task_ids(self) -> Iterable[int]: ...
    def decide(self, work: _AnyWork_contra) -> Any: ...


class KeyedCalls:
    """The calls with keys that share a transaction.

    Recording a call whose key is in the database, and was not looked up, makes the transaction fail.
    """

    def __init__(self, transaction: WriteTransaction) -> None:
        self._transaction = transaction
        self._known: dict[str, KeyedCall] = {}
        self._new: list[KeyedCall] = []

    def look_up(self, keys: Iterable[IdempotencyKey]) -> set[int]:
        """Find the calls of keys in the database. Returns the ids of their tasks."""
        found = self._transaction.keyed_calls([key.request_id for key in keys])
        self._known.update(found)
        return {task_id for each in found.values() for task_id in each.task_ids}

    def decide(self, key: IdempotencyKey, mutation: _Mutation[_AnyWork], work: _AnyWork) -> Any:
        """Let a mutation decide and record its call; a repeat decides nothing and returns a Replay.

        Raises ResponseStored for a repeat with a stored response, RequestIdReused for a key of another call, and the
        refusals of the mutation.
        """
        if replay := self._replay(key, work):
            return replay
        before = len(work.events)
        try:
            result = mutation.decide(work)
        except TaskplaneError:
            # The refusal may come from the effect of the first call.
            work.load(self.look_up([key]))
            if replay := self._replay(key, work):
                return replay
            raise
        changed = [each.task.id for each in work.events[before:]]
        pending = result.pending_command if isinstance(result, Task) else None
        call = KeyedCall(
            key.request_id,
            key.method,
            key.fingerprint,
            tuple(dict.fromkeys([*mutation.task_ids(), *changed])),
            pending.command_id if pending else "",
            refusals=_refusals_of(result),
        )
        self._known[key.request_id] = call
        self._new.append(call)
        return result

    def write(self, now: datetime) -> None:
        """Record the new calls."""
        self._transaction.insert_keyed_calls(self._new, now)

    def _replay(self, key: IdempotencyKey, work: _Work) -> Replay | None:
        call = self._known.get(key.request_id)
        if call is None:
            return None
        if (call.method, call.fingerprint) != (key.method, key.fingerprint):
            raise RequestIdReused(key.request_id, call.method)
        if call.response is not None:
            raise ResponseStored(call.response)
        tasks = [task for task_id in call.task_ids if (task := work.find(task_id))]
        deleted_ids = tuple(task_id for task_id in call.task_ids if work.find(task_id) is None)
        return Replay(tasks, call.command_id, deleted_ids, call.refusals)


def _refusals_of(result: Any) -> tuple[Refusal, ...]:
    """Return the refusals in the result of a bulk call, which holds an error for each refused task."""
    if not isinstance(result, dict):
        return ()
    return tuple(
        Refusal(task_id, error.code, error.reason, error.message)
        for task_id, error in result.items()
        if isinstance(error, TaskplaneError)
    )
