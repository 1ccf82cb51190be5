"""The rows of calls with idempotency keys."""

import asyncio
from collections.abc import Sequence
from os import urandom

import pytest
from sqlalchemy import Engine, text
from support.builders import NOW, a_task, at
from support.databases import SERVERS
from support.stored import in_transaction, insert, update

from taskplane.server.idempotency.responses import MAX_RESPONSE_BYTES
from taskplane.server.store.keyed_calls import KeyedCall, Refusal
from taskplane.server.store.store import Store
from taskplane.v1.task_pb2 import Task
from taskplane.v1.task_service_pb2 import CreateTaskResponse

CALL = KeyedCall("request-1", "CreateTask", "f" * 64, (3, 1, 2))


async def recorded(store: Store, *request_ids: str) -> dict[str, KeyedCall]:
    return await in_transaction(store, lambda transaction: transaction.keyed_calls(request_ids))


async def test_a_call_is_recorded(store: Store) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([CALL], NOW))
    assert await recorded(store, "request-1", "request-2") == {"request-1": CALL}
    assert await recorded(store, "REQUEST-1") == {}, "ids are compared exactly"
    assert await recorded(store) == {}


async def test_the_refusals_of_a_bulk_call_are_recorded(store: Store) -> None:
    refusals = (Refusal(1, "NOT_FOUND", "TASK_NOT_FOUND", "no task 1"), Refusal(2, "ABORTED", "STALE", '"ü" 🦆'))
    bulk = CALL._replace(refusals=refusals)
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([bulk], NOW))
    assert await recorded(store, "request-1") == {"request-1": bulk}


@pytest.mark.parametrize("length", [0, 1, 255, 2047, 2048, 65536])
async def test_responses_are_stored_to_the_byte(store: Store, length: int) -> None:
    other = replace_id(CALL, "request-2")
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([CALL, other], NOW))
    response = (b"\n" + bytes(range(256)) * 256)[:length]
    await store.save_responses({"request-1": response, "never heard of": b"lost"})
    found = await recorded(store, "request-1", "request-2")
    assert (found["request-1"].response, found["request-2"].response) == (response, None)


async def test_a_long_response_is_compressed(store: Store, engine: Engine) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([CALL], NOW))
    await store.save_responses({"request-1": CreateTaskResponse(task=Task(task_name="a" * 60_000)).SerializeToString()})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT LENGTH(answer) FROM task_requests")).scalar_one() < 6_000


@pytest.mark.parametrize("database", SERVERS, indirect=True)  # SQLite takes rows, not statements
async def test_many_long_responses_take_more_than_one_statement(store: Store, statements: Sequence[str]) -> None:
    responses = {f"request-{number}": urandom(MAX_RESPONSE_BYTES) for number in range(5)}
    calls = [replace_id(CALL, request_id) for request_id in responses]
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls(calls, NOW))
    await store.save_responses(responses)
    assert sum("UPDATE task_requests" in each for each in statements) == len(responses)
    assert {each: found.response for each, found in (await recorded(store, *responses)).items()} == responses


@pytest.mark.parametrize("database", SERVERS, indirect=True)  # SQLite has a single lock
async def test_responses_do_not_wait_for_a_blocked_transaction(store: Store, engine: Engine) -> None:
    await insert(store, a_task(id=1))
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([CALL], NOW))
    with engine.begin() as other:
        other.execute(text("UPDATE tasks SET priority = 5 WHERE id = 1"))
        waiting = asyncio.create_task(update(store, a_task(id=1, revision=7)))
        await asyncio.sleep(0)
        await store.save_responses({"request-1": b"as it was"})
        assert not waiting.done()
    await waiting
    assert (await recorded(store, "request-1"))["request-1"].response == b"as it was"


async def test_old_calls_are_forgotten(store: Store) -> None:
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([CALL], at(0)))
    newer = replace_id(CALL, "request-2")
    await in_transaction(store, lambda transaction: transaction.insert_keyed_calls([newer], at(10)))
    await store.forget_calls(before=at(10))
    assert set(await recorded(store, "request-1", "request-2")) == {"request-2"}


def replace_id(call: KeyedCall, request_id: str) -> KeyedCall:
    return call._replace(request_id=request_id)
