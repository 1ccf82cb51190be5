"""`python -m bench.turns BEFORE [--runs N]`: two versions in turns, both servers up, over one database server.

BEFORE is the `taskplane` of another checkout. The speed of a machine changes within minutes, so single runs alternate,
and the first run of each version does not count.
"""

import argparse
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import uvloop

from bench import figures, lifecycles, load, machine, processes
from bench.figures import Figure
from bench.latency import SLOTS, Probe
from bench.load import Run
from bench.settings import QUICK
from bench.stack import Stack, database_server, stack
from taskplane.client.aio import AsyncClient

SAMPLES_PER_TURN = 25

P = TypeVar("P")
R = TypeVar("R")


async def main(before: str, runs: int) -> None:
    """Measure lifecycles and latencies of both versions, and print a table."""
    versions = {"before": before, "after": processes.TASKPLANE}
    async with database_server("") as url, AsyncExitStack() as running:
        print(machine.described(url), flush=True)
        stacks = {
            name: await running.enter_async_context(stack(url, name=f"turns_{name}", taskplane=taskplane))
            for name, taskplane in versions.items()
        }
        found = [*await _lifecycles(stacks, runs), *await _latencies(stacks, runs)]
    print(figures.table(found))


async def _lifecycles(stacks: Mapping[str, Stack], runs: int) -> list[Figure]:
    one = partial(load.run, create=load.one_by_one, tasks=QUICK.tasks, in_flight=lifecycles.IN_FLIGHT)
    many = partial(load.run, create=load.in_batches, tasks=QUICK.batched_tasks, in_flight=lifecycles.BATCHES_IN_FLIGHT)
    loads: dict[str, Callable[[Stack], Awaitable[Run]]] = {
        "one CreateTask each": one,
        "the client coalescing": partial(one, coalesce=True),
        "BatchCreateTasks(100)": many,
    }
    found = []
    async with AsyncExitStack() as units:
        for each in stacks.values():
            unit = processes.module("unit", each.address, "answer", "--capacity", str(lifecycles.SLOTS))
            await units.enter_async_context(unit)
        for what, run in loads.items():
            for name, samples in (await _in_turns(stacks, runs, run)).items():
                found.append(Figure(f"lifecycles, {what}, {name}", [each.tasks_per_second for each in samples], "/s"))
    return found


async def _latencies(stacks: Mapping[str, Stack], runs: int) -> list[Figure]:
    found = []
    async with AsyncExitStack() as peers:
        probes = {}
        for name, each in stacks.items():
            unit = processes.module("unit", each.address, "hold", "--capacity", str(SLOTS))
            client = await peers.enter_async_context(AsyncClient(each.address))
            probes[name] = Probe(client, await peers.enter_async_context(unit))
        for what, step in (("create → start at the unit", Probe.start), ("PauseTask → PAUSED", Probe.pause)):
            turns = await _in_turns(probes, runs, partial(_samples, step))
            for name, lists in turns.items():
                samples = [sample for turn in lists for sample in turn]
                for percent in (50, 99):
                    value = figures.percentile(samples, percent)
                    found.append(Figure(f"idle: {what}, {name}, p{percent}", [value], "ms"))
    return found


async def _samples(step: Callable[[Probe], Awaitable[float]], probe: Probe) -> list[float]:
    return await probe.repeat(partial(step, probe), SAMPLES_PER_TURN)


async def _in_turns(peers: Mapping[str, P], runs: int, run: Callable[[P], Awaitable[R]]) -> dict[str, list[R]]:
    """Return the results of the runs of each version, without the first."""
    results: dict[str, list[R]] = {name: [] for name in peers}
    for turn in range(runs + 1):
        for name in sorted(peers, reverse=turn % 2 == 1):
            results[name].append(await run(peers[name]))
    return {name: each[1:] for name, each in results.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=__doc__)
    parser.add_argument("before", help="the taskplane command of the other version")
    parser.add_argument("--runs", type=int, default=8, help="runs of each version that count")
    options = parser.parse_args()
    uvloop.run(main(options.before, options.runs))
