"""A unit that is driven over HTTP: the same executors, another way to the server."""
