"""What is kept of requests that were answered."""

import asyncio
from collections.abc import Sequence
from os import urandom

import pytest
from conftest import SERVERS
from sqlalchemy import Engine, text
from support.builders import NOW, a_task, at
from support.stored import in_transaction, insert, update

from taskplane.server.store.answers import Refusal, StoredRequest
from taskplane.server.store.store import Store
from taskplane.server.tasks.answers import MAX_ANSWER_BYTES
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import CreateTaskResponse

REQUEST = StoredRequest("request-1", "CreateTask", "f" * 64, (3, 1, 2))


async def answered(store: Store, *request_ids: str) -> dict[str, StoredRequest]:
    return await in_transaction(store, lambda transaction: transaction.requests(request_ids))


async def test_an_answered_request_is_remembered(store: Store) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_requests([REQUEST], NOW))
    assert await answered(store, "request-1", "request-2") == {"request-1": REQUEST}
    assert await answered(store, "REQUEST-1") == {}, "ids are compared exactly"
    assert await answered(store) == {}


async def test_what_was_refused_of_a_bulk_call_is_remembered(store: Store) -> None:
    refusals = (Refusal(1, "NOT_FOUND", "TASK_NOT_FOUND", "no task 1"), Refusal(2, "ABORTED", "STALE", '"ü" 🦆'))
    bulk = REQUEST._replace(refusals=refusals)
    await in_transaction(store, lambda transaction: transaction.insert_requests([bulk], NOW))
    assert await answered(store, "request-1") == {"request-1": bulk}


@pytest.mark.parametrize("length", [0, 1, 255, 2047, 2048, 65536])
async def test_the_answers_to_requests_are_kept_to_the_byte(store: Store, length: int) -> None:
    other = replace_id(REQUEST, "request-2")
    await in_transaction(store, lambda transaction: transaction.insert_requests([REQUEST, other], NOW))
    answer = (b"\n" + bytes(range(256)) * 256)[:length]
    await store.save_answers({"request-1": answer, "never heard of": b"lost"})
    found = await answered(store, "request-1", "request-2")
    assert (found["request-1"].answer, found["request-2"].answer) == (answer, None)


async def test_a_long_answer_takes_less_room_than_it_has_bytes(store: Store, engine: Engine) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_requests([REQUEST], NOW))
    await store.save_answers({"request-1": CreateTaskResponse(task=Task(task_name="a" * 60_000)).SerializeToString()})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT LENGTH(answer) FROM task_requests")).scalar_one() < 6_000


@pytest.mark.parametrize("database", SERVERS, indirect=True)  # SQLite takes rows, not statements
async def test_many_long_answers_are_more_than_one_statement_takes(store: Store, statements: Sequence[str]) -> None:
    answers = {f"request-{number}": urandom(MAX_ANSWER_BYTES) for number in range(5)}
    requests = [replace_id(REQUEST, request_id) for request_id in answers]
    await in_transaction(store, lambda transaction: transaction.insert_requests(requests, NOW))
    await store.save_answers(answers)
    assert sum("UPDATE task_requests" in each for each in statements) == len(answers)
    assert {each: found.answer for each, found in (await answered(store, *answers)).items()} == answers


@pytest.mark.parametrize("database", SERVERS, indirect=True)  # SQLite has one lock for all
async def test_answers_do_not_wait_for_a_transaction_that_waits(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1))
    await in_transaction(store, lambda transaction: transaction.insert_requests([REQUEST], NOW))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 5 WHERE id = 1"))
        waiting = asyncio.create_task(update(store, a_task(id=1, revision=7)))
        await asyncio.sleep(0)
        await store.save_answers({"request-1": b"as it was"})
        assert not waiting.done()
    await waiting
    assert (await answered(store, "request-1"))["request-1"].answer == b"as it was"


async def test_old_requests_are_forgotten(store: Store) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_requests([REQUEST], at(0)))
    newer = replace_id(REQUEST, "request-2")
    await in_transaction(store, lambda transaction: transaction.insert_requests([newer], at(10)))
    await store.forget_requests(before=at(10))
    assert set(await answered(store, "request-1", "request-2")) == {"request-2"}


def replace_id(request: StoredRequest, request_id: str) -> StoredRequest:
    return request._replace(request_id=request_id)
