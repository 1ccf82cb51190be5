"""The loop budget: a bounded amount of work in each round of the event loop, in order of arrival."""

import asyncio

import pytest

from taskplane.server.core.loop_budget import LoopBudget


class Workers:
    """Workers that acquire the budget; each notes its round of the loop."""

    def __init__(self, at_once: int) -> None:
        self.loop_budget = LoopBudget(at_once)
        self.done: list[str] = []
        self.most_in_a_round = 0
        self._work_of_round = 0
        self._is_over = False

    async def work(self, name: str, amount: int = 1) -> None:
        await self.loop_budget.acquire(amount)
        self.done.append(name)
        self._work_of_round += amount
        self.most_in_a_round = max(self.most_in_a_round, self._work_of_round)

    async def count(self) -> None:
        while not self._is_over:
            await asyncio.sleep(0)
            self._work_of_round = 0

    async def all(self, *names: str, amount: int = 1) -> None:
        counting = asyncio.create_task(self.count())
        await asyncio.gather(*(self.work(name, amount) for name in names))
        self._is_over = True
        await counting


@pytest.mark.parametrize("amount", [1, 5])
async def test_no_round_exceeds_the_budget_and_work_begins_in_order(amount: int) -> None:
    workers = Workers(at_once=10)
    names = [str(number) for number in range(100)]
    await workers.all(*names, amount=amount)
    assert workers.done == names
    assert workers.most_in_a_round == 10


async def test_without_load_nothing_waits() -> None:
    loop_budget = LoopBudget(at_once=1)
    for _ in range(3):
        turn = loop_budget.acquire()
        with pytest.raises(StopIteration):
            turn.send(None)
        await asyncio.sleep(0)


async def test_a_cancelled_waiter_takes_no_turn() -> None:
    workers = Workers(at_once=1)
    first, gone, last = (asyncio.create_task(workers.work(name)) for name in ("first", "gone", "last"))
    await asyncio.sleep(0)  # all have asked for the budget
    gone.cancel()
    await asyncio.gather(first, last)
    assert workers.done == ["first", "last"]
    assert gone.cancelled()
