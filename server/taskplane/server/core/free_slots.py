"""Free slots by task type."""

from collections import Counter
from collections.abc import Collection


class FreeSlots:
    """Counts free slots; those of a unit that accepts two types count for each.

    The slots of units that name no types count for every type.
    """

    def __init__(self) -> None:
        self._of_type: Counter[str] = Counter()
        self._of_every_type = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FreeSlots) and str(self) == str(other)

    def __hash__(self) -> int:
        raise TypeError("free slots change")

    def __str__(self) -> str:
        named = {task_type: free for task_type, free in sorted(self._of_type.items()) if free}
        return f"{named} and {self._of_every_type} for every type"

    def change(self, task_types: Collection[str], by: int) -> None:
        """Count more slots, or fewer, of a unit that accepts these types; none: every type."""
        for task_type in task_types:
            self._of_type[task_type] += by
        if not task_types:
            self._of_every_type += by

    def has(self, task_type: str) -> bool:
        """Whether a slot is free for a type."""
        return self._of_every_type > 0 or self._of_type[task_type] > 0

    def types(self) -> list[str]:
        """Return the types that units with free slots name."""
        return [task_type for task_type, free in self._of_type.items() if free]

    def for_types(self, task_types: Collection[str]) -> int:
        """Return how many slots are free for these types at most."""
        if not task_types:
            return 0
        return self._of_every_type + sum(self._of_type[each] for each in task_types)
