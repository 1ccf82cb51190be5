"""The connection of an HTTP unit: registration, callbacks and heartbeats."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.backoff import Backoff
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.errors import UnitRejected
from taskplane.unit.http.api import UnitApi
from taskplane.unit.http.documents import callback, registration
from taskplane.unit.http.rest_client import RestClient, RestResponse, ServerUnreachable
from taskplane.unit.lease import HEARTBEAT_FRACTION, HEARTBEAT_SECONDS, LEASE_SECONDS, Lease, now
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.reports import AttemptKey, key_of
from taskplane.unit.runner import Runner
from taskplane.v1.execution_unit_control_pb2 import DropReason, Hello, Report, Verdict, VerdictAction

logger = logging.getLogger("taskplane.unit")

# Seconds to send the remaining reports when the unit leaves.
_CLOSE_SECONDS = 5.0

_NOT_FOUND = 404
_CONFLICT = 409


@dataclass(frozen=True)
class HttpAddresses:
    """The server's base URL, the unit's host and port, and the URL of the unit as the server reaches it."""

    server: str
    host: str
    port: int
    # None: made from host and port.
    endpoint: str | None = None


class _ReportRefused(Exception):
    """The server does not accept a report, and a repeat would not help."""


class _IdTaken(Exception):
    """Another process has the unit's id, and responds."""


class HttpConnection:
    """The HTTP counterpart of `StreamConnection`: a thread that posts the queued reports.

    `on_drain` is called after an operator has drained the unit; `on_failure` with the error that ends the unit.
    """

    def __init__(  # noqa: PLR0913 - as the stream connection
        self,
        addresses: HttpAddresses,
        introduction: Hello,
        registry: AttemptRegistry,
        command_handler: CommandHandler,
        report_queue: ReportQueue,
        *,
        runner: Runner,
        lease: Lease,
        on_drain: Callable[[float | None], None],
        on_failure: Callable[[Exception], object],
    ) -> None:
        """Bind the port. Raises OSError if it is in use."""
        self._rest = RestClient(addresses.server)
        self._api = UnitApi(addresses.host, addresses.port, registry, command_handler, runner)
        self._endpoint = addresses.endpoint or f"http://{addresses.host}:{self._api.port}"
        self._introduction = introduction
        self._registry = registry
        self._report_queue = report_queue
        self._lease = lease
        self._on_drain = on_drain
        self._on_failure = on_failure
        self._is_registered = False
        self._is_draining = False
        self._must_announce_drain = False
        self._is_closing = threading.Event()
        self._heartbeat_seconds = HEARTBEAT_SECONDS
        self._thread = threading.Thread(target=self._run, name="taskplane-connection", daemon=True)

    def start(self) -> None:
        """Serve requests, and register."""
        self._api.open()
        self._thread.start()

    def announce_drain(self) -> None:
        """Send a heartbeat that says that no slot is free."""
        self._is_draining = self._must_announce_drain = True
        self._report_queue.wake()

    def close(self) -> None:
        """Send the remaining reports, and end. Blocks for 5 s at most."""
        self._is_closing.set()
        self._report_queue.wake()
        self._thread.join(_CLOSE_SECONDS)
        self._report_queue.end_session()
        self._api.close()

    def _run(self) -> None:
        try:
            self._keep_in_touch()
        except Exception as error:  # noqa: BLE001 - ends the unit, which raises it
            self._on_failure(error)

    def _keep_in_touch(self) -> None:
        backoff = Backoff(self._lease)
        while not self._is_closing.is_set():
            try:
                self._synchronise()
                backoff.reset()
                self._send_reports(self._report_queue.begin_session())
            except ServerUnreachable as error:
                delay = backoff.next_seconds()
                logger.warning("http: %s; trying again in %.1f s", error, delay)
                self._is_closing.wait(delay)
            except _IdTaken as error:
                # The server has given this process's attempts to others, or refuses its reports.
                self._lease.end()
                delay = backoff.seconds_while_taken()
                text = "http: another process has this unit's id; trying again in %.1f s: %s"
                logger.error(text, delay, error)  # noqa: TRY400 - the traceback is always the same
                self._is_closing.wait(delay)
        logger.info("http: left")

    def _synchronise(self) -> None:
        """Register if the server does not know the unit, and ask for a verdict on each held attempt."""
        sent_at = now()
        lease_seconds = None if self._is_registered and self._heartbeat() else self._register()
        self._registry.apply_verdicts(
            [self._verdict(each.task_id, each.attempt) for each in self._registry.inventory()]
        )
        # Renewed after the verdicts: an attempt that was given to another unit must not continue.
        self._lease.renew(sent_at, lease_seconds)

    def _send_reports(self, session: int) -> None:
        """Send reports and heartbeats until the unit leaves. Raises ServerUnreachable; the next session continues."""
        next_heartbeat = now() + HEARTBEAT_FRACTION * self._heartbeat_seconds
        while True:
            reports = self._report_queue.take(session, self._is_urgent, max(0.0, next_heartbeat - now()))
            if reports is None:
                return
            if self._must_announce_drain and not self._is_closing.is_set():
                # Before any release: the server then moves the released tasks at once.
                self._renew_lease()
            for report in reports:
                self._send_report(report)
                self._registry.remove_ended(self._report_queue.acknowledge(report.sequence))
            if self._is_closing.is_set() and not reports:
                return
            if now() >= next_heartbeat:
                next_heartbeat = now() + HEARTBEAT_FRACTION * self._heartbeat_seconds
                self._renew_lease()

    def _renew_lease(self) -> None:
        sent_at = now()
        # A heartbeat succeeds even if the server has given the unit's attempts to others, and does not say so.
        if not (self._heartbeat() and self._lease.extend(sent_at)):
            self._synchronise()

    def _is_urgent(self) -> bool:
        return self._must_announce_drain or self._is_closing.is_set()

    def _register(self) -> float:
        """Register and return the lease in seconds. Raises UnitRejected and _IdTaken."""
        self._is_registered = False
        response = self._rest.post("/api/execution-units", registration(self._introduction, self._endpoint))
        if response.error.get("reason") == "UNIT_ID_TAKEN":
            raise _IdTaken(_message(response))
        if not response.is_success:
            raise UnitRejected(f"the server refuses this unit: HTTP {response.status}: {_message(response)}")
        # An id that the server assigned is used from now on.
        self._introduction.unit_id = response.document["id"]
        self._heartbeat_seconds = float(response.document.get("heartbeatIntervalSeconds", HEARTBEAT_SECONDS))
        self._is_registered = True
        logger.info("http: registered as unit_id=%s endpoint=%s", self._introduction.unit_id, self._endpoint)
        return float(response.document.get("leaseSeconds", LEASE_SECONDS))

    def _heartbeat(self) -> bool:
        """Send a heartbeat; return whether the server knows the unit at this endpoint."""
        body = {"capacity": 0 if self._is_draining else self._introduction.capacity}
        self._must_announce_drain = False
        # An id may contain characters with a meaning in URLs.
        unit_id = quote(self._introduction.unit_id, safe="")
        response = self._rest.post(f"/api/execution-units/{unit_id}/heartbeat", body)
        if response.document.get("status") == "OFFLINE":
            # A heartbeat brings back every unit except one that an operator has drained.
            self._on_drain(None)
        return response.is_success and response.document.get("endpoint") == self._endpoint

    def _send_report(self, report: Report) -> None:
        body = callback(report)
        if body is None:
            return
        sent_at = now()
        try:
            verdict = self._post_status(report.task_id, body)
        except _ReportRefused as refused:
            logger.error("http: %s of task %s is refused: %s", body["status"], report.task_id, refused)  # noqa: TRY400
            text = f"the server refuses what the unit reports: {refused}"
            failure = {"status": "FAILED", "errorMessage": text, "attempt": report.attempt}
            verdict = self._post_status(report.task_id, failure)
            self._registry.drop(key_of(report), DropReason.DROP_REASON_SUPERSEDED)
        if verdict.action == VerdictAction.VERDICT_ACTION_DROP:
            self._registry.drop(key_of(report), verdict.drop_reason)
        # A lease that is over stays over until the next heartbeat: this response is about one attempt only.
        self._lease.extend(sent_at)

    def _verdict(self, task_id: int, attempt: int) -> Verdict:
        if self._registry.find(AttemptKey(task_id, attempt)) is None:  # the attempt has ended
            return Verdict(task_id=task_id, attempt=attempt, action=VerdictAction.VERDICT_ACTION_KEEP)
        return self._post_status(task_id, {"status": "RUNNING", "attempt": attempt})

    def _post_status(self, task_id: int, body: dict[str, Any]) -> Verdict:
        """Report a status, and return the verdict on the attempt. Raises ServerUnreachable and _ReportRefused."""
        body["unitId"] = self._introduction.unit_id
        response = self._rest.post(f"/api/tasks/{task_id}/status", body)
        verdict = Verdict(task_id=task_id, attempt=body["attempt"], action=VerdictAction.VERDICT_ACTION_KEEP)
        if response.status in (_NOT_FOUND, _CONFLICT):
            verdict.action = VerdictAction.VERDICT_ACTION_DROP
            verdict.drop_reason = _drop_reason(response)
        elif not response.is_success:
            raise _ReportRefused(f"HTTP {response.status}: {_message(response)}")
        elif response.document.get("verdict") == "PAUSE":
            verdict.action = VerdictAction.VERDICT_ACTION_PAUSE
        return verdict


def _drop_reason(response: RestResponse) -> DropReason.ValueType:
    """Return the server's reason; by default SUPERSEDED, after which the executor leaves all files alone."""
    if response.error.get("reason") == "TASK_NOT_FOUND":
        return DropReason.DROP_REASON_DELETED
    details = response.error.get("details", {})
    name = f"DROP_REASON_{details.get('metadata', {}).get('dropReason', 'SUPERSEDED')}"
    return DropReason.Value(name) if name in DropReason.keys() else DropReason.DROP_REASON_SUPERSEDED  # noqa: SIM118


def _message(response: RestResponse) -> str:
    return str(response.error.get("message", ""))
