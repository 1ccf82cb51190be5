"""Where and with what was measured: no figure is worth anything without it."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench import database

_PYTHON_BUILD = Path(__file__).parents[1] / "scripts" / "python_build.py"
_PACKAGES = ("grpcio", "protobuf", "uvloop", "SQLAlchemy", "PyMySQL")


def described(server_url: str) -> str:
    """Return one line for a report."""
    with database.connected(database.named(server_url, "mysql")) as connection:
        (name,) = database.ask(connection, "SELECT CONCAT(@@version_comment, ' ', @@version)")
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}; {os.cpu_count()} x {_processor()}, {_memory_gib()} GiB;"
        f" Python {platform.python_version()} ({_python_build()} build), {packages}; {name};"
        f" load before: {os.getloadavg()[0]:.2f}"
    )


def _python_build() -> str:
    """Return "optimised" or "plain": an optimised build is a sixth faster."""
    return subprocess.run([sys.executable, _PYTHON_BUILD], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  (our own script)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _memory_gib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
