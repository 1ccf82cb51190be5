"""Numbers from the database in blocks, so that ids are known before the INSERT on every database."""

from sqlalchemy import Connection, select

from taskplane.server.store import schema

# How many numbers are taken at once. Those in hand when the server stops are never used, which shows in the ids of
# tasks only; of revisions a task has several.
BLOCKS = {"task": 1_000, "revision": 10_000}


class IdBlocks:
    """Numbers from the database in blocks. A block that was taken in a transaction that failed is forgotten."""

    def __init__(self) -> None:
        self._spans: dict[str, range] = {}

    def take(self, connection: Connection, name: str, count: int) -> range:
        """Return `count` consecutive numbers, greater than any given out before under this name."""
        span = self._spans.get(name, range(0))
        if len(span) < count:
            span = self._fetch(connection, name, max(BLOCKS[name], count))
        self._spans[name] = span[count:]
        return span[:count]

    def forget(self) -> None:
        """Drop what is in hand: the transaction that fetched it may have been rolled back."""
        self._spans.clear()

    @staticmethod
    def _fetch(connection: Connection, name: str, count: int) -> range:
        table = schema.id_blocks
        connection.execute(table.update().where(table.c.name == name).values(next_id=table.c.next_id + count))
        end = connection.execute(select(table.c.next_id).where(table.c.name == name)).scalar_one()
        return range(end - count, end)
