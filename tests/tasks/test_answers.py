"""Answers on their way to the database: each is kept, in so much memory and no more."""

import asyncio
from collections.abc import Mapping

import pytest
from support.builders import PATIENCE_SECONDS
from support.writer import CountingStore

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database
from taskplane.server.tasks import answers as module
from taskplane.server.tasks.answers import MANY_BYTES, MAX_ANSWER_BYTES, MAX_WAITING_BYTES, Answers
from taskplane.server.tasks.requests import Request

LONGEST = bytes(MAX_ANSWER_BYTES)
MOST = MAX_WAITING_BYTES // MAX_ANSWER_BYTES


def request(number: int) -> Request:
    return Request(f"request-{number}", "CreateTask", "a" * 64)


class TellingStore(CountingStore):
    """A store that tells when answers are saved, and can be away."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.saved = asyncio.Event()
        self.is_away = False

    async def save_answers(self, answers: Mapping[str, bytes]) -> None:
        if self.is_away:
            raise DatabaseUnavailable
        await super().save_answers(answers)
        self.saved.set()


@pytest.fixture
async def telling(store: CountingStore) -> TellingStore:
    return TellingStore(store._database)


@pytest.fixture
async def answers(telling: TellingStore) -> Answers:
    return Answers(telling)


async def test_an_answer_that_is_too_long_is_not_kept(answers: Answers) -> None:
    answers.keep(request(1), LONGEST)
    answers.keep(request(2), LONGEST + b"x")
    assert (answers.find(request(1)), answers.find(request(2))) == (LONGEST, None)


async def test_what_waits_while_the_database_is_away_has_an_end(answers: Answers, telling: TellingStore) -> None:
    telling.is_away = True
    for number in range(MOST + 3):
        answers.keep(request(number), LONGEST)
    with pytest.raises(DatabaseUnavailable):
        await answers.flush()
    kept = [number for number in range(MOST + 3) if answers.find(request(number))]
    assert kept == list(range(MOST))


async def test_what_was_stored_makes_room(answers: Answers) -> None:
    for number in range(2 * MOST):
        answers.keep(request(number % MOST), LONGEST)
    await answers.flush()
    for number in range(MOST):
        answers.keep(request(number), LONGEST)
    assert all(answers.find(request(number)) for number in range(MOST))


async def test_much_does_not_wait_for_the_next_second(
    answers: Answers, telling: TellingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 3600.0)
    running = asyncio.create_task(answers.run())
    for number in range(MANY_BYTES // MAX_ANSWER_BYTES):
        answers.keep(request(number), LONGEST)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await telling.saved.wait()
    running.cancel()
    await asyncio.wait({running})
