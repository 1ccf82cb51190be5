"""Ids and revisions, reserved in blocks: every id is known before its INSERT, on every database."""

from sqlalchemy import Connection, select

from taskplane.server.store import schema

# Size of a block. A killed server leaves the rest of its block unused, which users see as a gap in the ids of tasks; a
# server that stops in order returns the rest.
BLOCKS = {"task": 1_000, "revision": 10_000}


class IdBlocks:
    """The unused rests of the reserved blocks, by name."""

    def __init__(self) -> None:
        self._spans: dict[str, range] = {}

    def take(self, connection: Connection, name: str, count: int) -> range:
        """Return `count` consecutive numbers, greater than all earlier ones of this name."""
        span = self._spans.get(name, range(0))
        if len(span) < count:
            span = self._fetch(connection, name, max(BLOCKS[name], count))
        self._spans[name] = span[count:]
        return span[:count]

    def snapshot(self) -> dict[str, range]:
        """Return the state at the begin of a transaction, for `restore`."""
        return dict(self._spans)

    def restore(self, snapshot: dict[str, range]) -> None:
        """Undo all `take` since a snapshot, after the transaction failed and its successors were undone.

        Reservations of blocks were rolled back too, so the database will return the same numbers again.
        """
        self._spans = snapshot

    def release(self) -> dict[str, range]:
        """Empty all blocks and return the rests, for `return_unused`."""
        spans, self._spans = self._spans, {}
        return spans

    @staticmethod
    def return_unused(connection: Connection, spans: dict[str, range]) -> None:
        """Return the rests of blocks to the database, unless later numbers have been reserved since."""
        table = schema.id_blocks
        for name, span in spans.items():
            is_last = (table.c.name == name) & (table.c.next_id == span.stop)
            connection.execute(table.update().where(is_last).values(next_id=span.start))

    def are_stored(self, connection: Connection) -> bool:
        """Return whether the database, on another connection, has all blocks reserved."""
        table = schema.id_blocks
        ends = {row.name: row.next_id for row in connection.execute(select(table))}
        return all(span.stop <= ends[name] for name, span in self._spans.items() if span)

    @staticmethod
    def _fetch(connection: Connection, name: str, count: int) -> range:
        table = schema.id_blocks
        connection.execute(table.update().where(table.c.name == name).values(next_id=table.c.next_id + count))
        end = connection.execute(select(table.c.next_id).where(table.c.name == name)).scalar_one()
        return range(end - count, end)
