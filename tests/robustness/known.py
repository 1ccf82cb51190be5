"""The clients' common knowledge: the tasks, and where each was last seen to stand."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from robustness.records import Seen

# More would only wait in the queue.
MOST_LIVE_TASKS = 40
_LIVE = {"PENDING", "RUNNING", "PAUSED"}


@dataclass
class KnownTasks:
    """The tasks known to the clients, each with its last seen status. Threads share the object."""

    seen: dict[int, Seen] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Set by each acknowledged change, for faults that strike right then.
    acknowledged: threading.Event = field(default_factory=threading.Event)

    def saw(self, seen: Sequence[Seen]) -> None:
        """Note the task of a response, unless a later one is known."""
        with self.lock:
            for each in seen:
                known = self.seen.get(each.task)
                if known is None or known.revision <= each.revision:
                    self.seen[each.task] = each

    def forget(self, task: int) -> None:
        """Note that a task is gone."""
        with self.lock:
            self.seen.pop(task, None)

    def revision(self, task: int) -> int:
        """Return the last seen revision of a task, 0 if it is gone."""
        with self.lock:
            return self.seen[task].revision if task in self.seen else 0

    def live_count(self) -> int:
        """Return the number of tasks not known to be final."""
        with self.lock:
            return sum(each.status in _LIVE for each in self.seen.values())

    def choose(self, choice: random.Random, statuses: set[str] | None) -> int | None:
        """Return a task, in one of the given statuses if possible."""
        with self.lock:
            fitting = [task for task, each in self.seen.items() if statuses is None or each.status in statuses]
            # Mostly younger tasks: older ones are final.
            pool = sorted(fitting or self.seen)[-MOST_LIVE_TASKS:]
        return choice.choice(pool) if pool else None
