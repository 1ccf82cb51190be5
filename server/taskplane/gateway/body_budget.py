"""The bytes that the bodies of unfinished requests may hold together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taskplane.server.core.errors import Code, TaskplaneError

# Some sixty bodies of the largest size; of usual ones, tens of thousands.
MAX_BYTES = 64 * 1024 * 1024


class TooManyBodies(TaskplaneError):
    """The bodies of other requests use up the memory that the server has for them."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_BODIES"

    def __init__(self) -> None:
        super().__init__("too many large requests are under way; try again later", retry_delay_seconds=1.0)


class BodyBudget:
    """Counts the bytes of all bodies from when they are read until their requests are answered."""

    def __init__(self, at_most: int = MAX_BYTES) -> None:
        self._left = at_most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Give a function that takes so many bytes more, until the context ends. It raises TooManyBodies."""
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
