"""Numbers from the database in blocks, so that ids are known before the INSERT on every database."""

from sqlalchemy import Connection, select

from taskplane.server.store import schema

# How many numbers are taken at once. Those in hand when the server is killed are never used, which shows in the ids of
# tasks only; of revisions a task has several. A server that stops in order leaves them to the next one.
BLOCKS = {"task": 1_000, "revision": 10_000}


class IdBlocks:
    """Numbers in hand, of the blocks that were fetched last."""

    def __init__(self) -> None:
        self._spans: dict[str, range] = {}

    def take(self, connection: Connection, name: str, count: int) -> range:
        """Return `count` consecutive numbers, greater than any given out before under this name."""
        span = self._spans.get(name, range(0))
        if len(span) < count:
            span = self._fetch(connection, name, max(BLOCKS[name], count))
        self._spans[name] = span[count:]
        return span[:count]

    def snapshot(self) -> dict[str, range]:
        """Return what a transaction finds in hand, for `restore`."""
        return dict(self._spans)

    def restore(self, snapshot: dict[str, range]) -> None:
        """Take back what a transaction that failed has taken, after all that was decided behind it has been undone.

        A block that it had fetched was rolled back with it, so the database gives out the same numbers again.
        """
        self._spans = snapshot

    def release(self) -> dict[str, range]:
        """Return what is in hand, for `return_unused`. Then nothing is."""
        spans, self._spans = self._spans, {}
        return spans

    @staticmethod
    def return_unused(connection: Connection, spans: dict[str, range]) -> None:
        """Let the database give out again what was let go, where nothing behind that was given out meanwhile."""
        table = schema.id_blocks
        for name, span in spans.items():
            is_last = (table.c.name == name) & (table.c.next_id == span.stop)
            connection.execute(table.update().where(is_last).values(next_id=span.start))

    def are_stored(self, connection: Connection) -> bool:
        """Look, by another connection, whether the database knows that all numbers in hand are given out."""
        table = schema.id_blocks
        ends = {row.name: row.next_id for row in connection.execute(select(table))}
        return all(span.stop <= ends[name] for name, span in self._spans.items() if span)

    @staticmethod
    def _fetch(connection: Connection, name: str, count: int) -> range:
        table = schema.id_blocks
        connection.execute(table.update().where(table.c.name == name).values(next_id=table.c.next_id + count))
        end = connection.execute(select(table.c.next_id).where(table.c.name == name)).scalar_one()
        return range(end - count, end)
