"""The synchronous client."""

from taskplane.client.sync.base import BaseClient


class Client(BaseClient):
    """A client of one server; a context manager. Threads may share it.

    Every method takes a `timeout` in seconds for the whole call with its repeats; None means the client's. Calls that
    change a task carry a request id, generated unless given. They and reads are repeated when the connection breaks.
    Every method raises TaskplaneError.
    """
