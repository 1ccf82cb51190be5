"""Where and with what was measured: no figure is worth anything without it."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from bench import database

_PACKAGES = ("grpcio", "protobuf", "uvloop", "SQLAlchemy", "PyMySQL")


def described(server_url: str) -> str:
    """Return one line for a report."""
    with database.connected(database.named(server_url, "mysql")) as connection:
        (name,) = database.ask(connection, "SELECT CONCAT(@@version_comment, ' ', @@version)")
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}; {os.cpu_count()} x {_processor()}, {_memory_gib()} GiB;"
        f" Python {platform.python_version()}, {packages}; {name}; load before: {os.getloadavg()[0]:.2f}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _memory_gib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
