"""A real server in this process, over its own database."""

from pathlib import Path
from typing import Any

from taskplane.server.app import Server
from taskplane.server.config import ServerConfig
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning


class RunningServer:
    """A server, its addresses, and a stop that runs once."""

    def __init__(self, config: ServerConfig, tuning: Tuning) -> None:
        self._server = Server(config, tuning)
        self._is_running = False
        self.grpc_address = ""

    @property
    def http_address(self) -> str:
        return self._server.http_address

    async def start(self) -> None:
        self.grpc_address = await self._server.start()
        self._is_running = True

    async def stop(self) -> None:
        if self._is_running:
            self._is_running = False
            await self._server.stop()


def running_server(folder: Path, tuning: Tuning = DEFAULT_TUNING, **settings: Any) -> RunningServer:
    """Return a server that is not started yet, on free ports, with its database in the folder."""
    url = f"sqlite:///{folder / 'taskplane.db'}"
    given: dict[str, Any] = {
        "grpc": "127.0.0.1:0",
        "http": "127.0.0.1:0",
        "database_url": url,
        "drain_seconds": 1,
    } | settings
    return RunningServer(ServerConfig(**given), tuning)
