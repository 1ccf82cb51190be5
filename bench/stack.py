"""What is measured: a database server of the bench's own, a taskplane server over a new database, and its processes."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench import database, processes
from bench.processes import ROOT, Child

# As in the prototype's measurements. Everything else is the database's default, its durability above all.
MYSQL_ARGUMENTS = "--innodb-buffer-pool-size=2G"
_MYSQL_SCRIPT = str(ROOT / "scripts" / "mysql.sh")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running server and its database."""

    server: Child
    address: str
    http_address: str
    database_url: str


@asynccontextmanager
async def database_server(executable: str) -> AsyncIterator[str]:
    """Run genuine MySQL, or the given mysqld or mariadbd, on a port and in a folder of its own. Gives the URL.

    TLS is off, as it is for a client on the database's own machine that comes by the socket.
    """
    name = executable.rpartition("/")[2] or "mysql"
    environment = os.environ | {
        "TASKPLANE_MYSQL_DIR": str(ROOT / "var" / f"bench-{name}"),
        "TASKPLANE_MYSQL_PORT": "0",
        "TASKPLANE_MYSQL_SERVER": executable,
        "TASKPLANE_MYSQL_ARGS": MYSQL_ARGUMENTS,
    }
    url = await asyncio.to_thread(_mysql, environment, "start")
    try:
        yield f"{url}?ssl_disabled=true"
    finally:
        await asyncio.to_thread(_mysql, environment, "wipe")


def _mysql(environment: dict[str, str], action: str) -> str:
    done = subprocess.run(  # noqa: S603  (the project's own script)
        [_MYSQL_SCRIPT, action], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


@asynccontextmanager
async def stack(
    server_url: str, *options: str, name: str = "bench", fresh: bool = True, taskplane: str = processes.TASKPLANE
) -> AsyncIterator[Stack]:
    """Run a taskplane server; over an empty database if `fresh`."""
    url = database.recreate(server_url, name) if fresh else database.named(server_url, name)
    async with processes.server(url, *options, taskplane=taskplane) as (server, addresses):
        yield Stack(server, addresses["grpc"], addresses["http"], url)
