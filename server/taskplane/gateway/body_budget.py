"""A budget of bytes for the bodies of all unfinished requests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskplane.server.core.errors import Code, TaskplaneError

# Sixteen bodies of the largest size, or tens of thousands of common ones.
MAX_BYTES = 64 * 1024 * 1024


class TooManyBodies(TaskplaneError):
    """The bodies of other requests use the whole budget."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_BODIES"

    def __init__(self) -> None:
        super().__init__("too many large requests are in progress; try again later", retry_delay_seconds=1.0)


class BodyBudget:
    """Count of the bytes of all bodies, from their arrival until the response."""

    def __init__(self, at_most: int = MAX_BYTES) -> None:
        self._left = at_most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Return, for the context, a function that takes further bytes from the budget or raises TooManyBodies."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._left:
                raise TooManyBodies
            self._left -= count
            taken += count

        try:
            yield take
        finally:
            self._left += taken
