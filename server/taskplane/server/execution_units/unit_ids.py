"""Ownership of unit ids: a process that still responds keeps its id."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from taskplane.server.core.clock import monotonic
from taskplane.server.core.errors import UnitIdTaken
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry

# Interval of checks for the response to a probe, in seconds.
CHECK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ConnectingProcess:
    """A process that requests a unit id, identified by its boot id or by its endpoint."""

    boot_id: str = ""
    endpoint: str = ""

    def is_process_of(self, unit: UnitEntry, session: Session) -> bool:
        """Return True if the session belongs to the same process.

        Endpoints are compared by host and port: a new path is the same process.
        """
        if self.boot_id:
            return self.boot_id == session.boot_id
        return bool(unit.record.endpoint) and _origin(self.endpoint) == _origin(unit.record.endpoint or "")


class UnitIdGuard:
    """Admits processes to unit ids."""

    def __init__(self, registry: Registry, lease_seconds: float, probe_seconds: float) -> None:
        self._registry = registry
        self._lease_seconds = lease_seconds
        self._checks = round(probe_seconds / CHECK_SECONDS)

    async def admit(self, unit_id: str, newcomer: ConnectingProcess) -> None:
        """Return when the newcomer may use the id. The caller must begin its session before the next await.

        The current process is probed, and loses the id if it does not respond. A newcomer that
        is admitted first is probed for the later ones. Raises UnitIdTaken.
        """
        if unit := self._registry.find(unit_id):
            await self._wait_for_reconnect(unit, newcomer)
        while (unit := self._registry.find(unit_id)) and (session := unit.session):
            if newcomer.is_process_of(unit, session):
                return
            has_stream = not unit.record.endpoint
            if (newcomer.endpoint and has_stream) or await self._answers_probe(unit, session):
                raise _taken(unit, session)
            if unit.session is session:
                return
        if unit and newcomer.endpoint:
            self._check_absence(unit)

    def _check_absence(self, unit: UnitEntry) -> None:
        """Raise UnitIdTaken if a unit with a stream is disconnected and may return within its lease."""
        silent = monotonic() - unit.heard_at
        may_return = bool(unit.running) or not unit.has_left
        if may_return and not unit.record.endpoint and silent <= self._lease_seconds:
            raise UnitIdTaken(
                f"unit id {unit.record.id!r} is that of a unit with a stream, whose lease is not over; "
                "register under an id of your own",
                metadata={"unit_id": unit.record.id, "boot_id": unit.record.boot_id},
            )

    async def _wait_for_reconnect(self, unit: UnitEntry, newcomer: ConnectingProcess) -> None:
        """Wait for a process with tasks that a restart of the server has disconnected."""
        is_cut_off = unit.session is None and unit.last_heartbeat is None and bool(unit.running)
        if is_cut_off and unit.record.boot_id and newcomer.boot_id != unit.record.boot_id:
            for _ in range(self._checks):
                if unit.session:
                    return
                await asyncio.sleep(CHECK_SECONDS)

    async def _answers_probe(self, unit: UnitEntry, session: Session) -> bool:
        """Probe the process of a session. Return True if it has sent any message since.

        Time is counted in iterations of the event loop, since no response arrives while the server itself is stalled.
        """
        while not session.welcomed and unit.session is session:  # noqa: ASYNC110  (many events end the wait, and it is rare)
            await asyncio.sleep(CHECK_SECONDS)  # the process has just sent its hello, and the server owes the welcome
        heard_before = unit.last_heartbeat  # not `heard_at`, which lease extensions change too
        session.link.probe()
        for _ in range(self._checks):
            if unit.session is not session or unit.last_heartbeat is not heard_before:
                break
            await asyncio.sleep(CHECK_SECONDS)
        return unit.session is session and unit.last_heartbeat is not heard_before


def _taken(unit: UnitEntry, session: Session) -> UnitIdTaken:
    process = f"process {session.boot_id}" if session.boot_id else "a process"
    peer = session.link.peer or "an unknown address"
    since = session.since.isoformat(timespec="seconds")
    return UnitIdTaken(
        f"unit id {unit.record.id!r} is taken: {process} at {peer} has had it since {since}, and still answers; "
        "stop that process, or use an id of your own",
        metadata={"unit_id": unit.record.id, "boot_id": session.boot_id, "peer": peer, "since": since},
    )


def _origin(endpoint: str) -> tuple[str, str | None, int | None]:
    url = urlsplit(endpoint)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.hostname, port
