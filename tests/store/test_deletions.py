"""Tombstones of deleted tasks, and the record of purged tombstones."""

from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

import pytest
from support.builders import at
from support.stored import in_transaction

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database
from taskplane.server.store.deletions import Deletion
from taskplane.server.store.store import Store
from taskplane.server.store.transaction import WriteTransaction

EARLY, LATE = at(1), at(2)


async def deletions(store: Store, *times: datetime) -> list[Deletion]:
    """Store deletions of tasks 1, 2, … at the given times, with new revisions."""

    def work(transaction: WriteTransaction) -> list[Deletion]:
        revisions = transaction.next_revisions(len(times))
        made = [Deletion(revision, task_id, "it's 🦆") for task_id, revision in enumerate(revisions, start=1)]
        for deletion, time in zip(made, times, strict=True):
            transaction.insert_deletions([deletion], time)
        return made

    return await in_transaction(store, work)


async def kept(store: Store) -> list[Deletion]:
    return await store.deletions_since(0, task_ids=(), limit=10)


async def test_deletions_are_returned_oldest_first(store: Store) -> None:
    first, second, third = await deletions(store, LATE, EARLY, LATE)
    assert await kept(store) == [first, second, third]
    assert await store.deletions_since(first.revision, task_ids=(), limit=1) == [second]
    assert await store.deletions_since(first.revision, task_ids=(1, 3, 99), limit=10) == [third]
    assert await store.deletions_since(third.revision, task_ids=(), limit=10) == []


async def test_old_deletions_are_purged_up_to_the_purged_revision(store: Store) -> None:
    _, newest_old, young = await deletions(store, EARLY, EARLY, LATE)
    await store.forget_deletions(before=LATE)
    assert await kept(store) == [young]
    assert await store.purged_revision() == newest_old.revision


async def test_without_old_deletions_nothing_is_purged(store: Store) -> None:
    purged = await store.purged_revision()
    young = await deletions(store, LATE)
    await store.forget_deletions(before=LATE)
    assert await kept(store) == young
    assert await store.purged_revision() == purged


async def test_the_purged_revision_never_decreases(store: Store) -> None:
    old, later = await deletions(store, EARLY, LATE)
    await in_transaction(store, lambda transaction: transaction.note_purge(later.revision))
    await store.forget_deletions(before=LATE)
    assert old not in await kept(store)
    assert await store.purged_revision() == later.revision


@pytest.mark.parametrize("step", ["write", "write_unordered"])
async def test_no_deletion_is_purged_without_a_record_after_any_failure(
    store: Store, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = await deletions(store, EARLY)

    async def fail(_database: Database, _statements: Callable[..., None]) -> NoReturn:
        raise DatabaseUnavailable("gone away")

    with monkeypatch.context() as patch:
        patch.setattr(Database, step, fail)
        with pytest.raises(DatabaseUnavailable):
            await store.forget_deletions(before=LATE)
    assert await kept(store) == [old]
    await store.forget_deletions(before=LATE)
    assert await kept(store) == []
    assert await store.purged_revision() == old.revision
