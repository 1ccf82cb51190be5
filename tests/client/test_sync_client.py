"""The synchronous client has every method of the asyncio client, with the same parameters."""

import inspect
import subprocess
import sys
from pathlib import Path

from taskplane.client import Client
from taskplane.client.aio import AsyncClient

GENERATOR = Path(__file__).parents[2] / "scripts" / "generate_sync_client.py"


def methods(client: type) -> dict[str, list[str]]:
    functions = inspect.getmembers(client, inspect.isfunction)
    return {name: list(inspect.signature(each).parameters) for name, each in functions if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert methods(Client) == methods(AsyncClient)


def test_the_generated_client_is_up_to_date() -> None:
    checked = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
