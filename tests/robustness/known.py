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
    """The tasks that the clients know of, and the status in which each was last seen. Threads share it."""

    seen: dict[int, Seen] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Set by each change that is acknowledged; for who wants to break something right then.
    acknowledged: threading.Event = field(default_factory=threading.Event)

    def saw(self, seen: Sequence[Seen]) -> None:
        """Takes what an answer showed, unless a later one is known."""
        with self.lock:
            for each in seen:
                known = self.seen.get(each.task)
                if known is None or known.revision <= each.revision:
                    self.seen[each.task] = each

    def forget(self, task: int) -> None:
        """Takes that a task is gone."""
        with self.lock:
            self.seen.pop(task, None)

    def revision(self, task: int) -> int:
        """The revision in which a task was last seen, 0 for one that is gone."""
        with self.lock:
            return self.seen[task].revision if task in self.seen else 0

    def live_count(self) -> int:
        """How many are not over, as far as is known."""
        with self.lock:
            return sum(each.status in _LIVE for each in self.seen.values())

    def choose(self, choice: random.Random, statuses: set[str] | None) -> int | None:
        """A task, one in these statuses if there is any."""
        with self.lock:
            fitting = [task for task, each in self.seen.items() if statuses is None or each.status in statuses]
            # Mostly the younger ones: the older are over.
            pool = sorted(fitting or self.seen)[-MOST_LIVE_TASKS:]
        return choice.choice(pool) if pool else None
