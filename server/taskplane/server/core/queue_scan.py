"""Looks at the backlog: of which types something that waits may have room.

A look is one pass over what waits of some types, as long as there are slots. It begins when a slot has opened, or
something has come that waits, and may go on in the next transaction.
"""

from collections.abc import Collection, Iterable, Mapping

from taskplane.server.core.free_slots import FreeSlots
from taskplane.server.core.task_queue import TaskQueue


class QueueScan:
    """The backlog, and of which types it is to be looked at. `free` are the free slots, as they change."""

    def __init__(self, free: FreeSlots) -> None:
        self.task_queue = TaskQueue()
        self._free = free
        # The types of which something that waits may have room since the last look began.
        self._due: set[str] = set()
        # Those at which the last look has not come to its end.
        self._unfinished: set[str] = set()

    def types(self) -> frozenset[str]:
        """Return the types of which something in the backlog may have room since it was looked at last."""
        return frozenset(each for each in self._due | self._unfinished if self._free.has(each))

    def start(self) -> frozenset[str]:
        """Begin a look, and return its types. A slot that opens from now on calls for another.

        So does one that opened in the middle of a look, which may have been past what waits for it. Types whose slots
        are gone again are due no more: the next slot says so anew.
        """
        task_types = self.types()
        new = task_types - self._unfinished
        self._due &= self._unfinished
        self._unfinished -= task_types
        self.task_queue.begin_scan(new)
        return task_types

    def continue_later(self, task_types: Iterable[str]) -> None:
        """Let the look at these types go on in the next transaction."""
        self._unfinished.update(task_types)

    def opened(self, task_types: Collection[str], labels: Mapping[str, str]) -> None:
        """Call for a look at what may wait for a slot that has opened, of a unit with these types and labels.

        Without types it is a unit that takes every type.
        """
        for task_type in task_types or self.task_queue.types_that_may_wait():
            waiting = self.task_queue.labels(task_type)
            if waiting is None or any(wanted <= labels.items() for wanted in waiting):
                self._due.add(task_type)

    def reset(self) -> None:
        """Forget what is known of the backlog, and look at all that may have room."""
        self.task_queue.forget()
        self._unfinished.clear()
        self._due.update(self._free.types(), self.task_queue.all_types())
