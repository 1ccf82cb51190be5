"""`python -m bench [PART…] [--full] [--database-server PATH]`: measures, and prints a table as it goes."""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping

import uvloop

from bench import figures, growth, idle_units, latency, lifecycles, machine, rude_peers
from bench.figures import Figure
from bench.settings import FULL, QUICK, Settings
from bench.stack import database_server

PARTS: Mapping[str, Callable[[str, Settings], AsyncIterator[Figure]]] = {
    "lifecycles": lifecycles.measure,
    "latency": latency.measure,
    "units": idle_units.measure,
    "table": growth.with_finished_tasks,
    "fleet": growth.with_units,
    "progress": growth.with_progress,
    "watchers": growth.with_watchers,
    "peers": rude_peers.measure,
}


async def main(options: argparse.Namespace) -> None:
    """Measure the chosen parts."""
    # As Ctrl-C: whatever runs is ended, the database server last.
    if whole := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, whole.cancel)
    settings = FULL if options.full else QUICK
    async with database_server(options.database_server) as url:
        print(machine.described(url), flush=True)
        found = []
        for part in options.parts or PARTS:
            async for figure in PARTS[part](url, settings):
                print(figures.table([figure]).splitlines()[-1], flush=True)
                found.append(figure)
    print(f"\n{figures.table(found)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--full", action="store_true", help="all sizes, and more of each")
    parser.add_argument("--database-server", default="", metavar="PATH", help="a mysqld or mariadbd; else MySQL")
    uvloop.run(main(parser.parse_args()))
