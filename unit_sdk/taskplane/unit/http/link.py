"""Keeps a unit that is driven over HTTP in touch: it registers, calls back, and sends heartbeats."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from taskplane.unit.backoff import Backoff
from taskplane.unit.commands import Commands
from taskplane.unit.errors import UnitRejected
from taskplane.unit.http.documents import callback, registration
from taskplane.unit.http.face import Face
from taskplane.unit.http.rest import Answer, Rest, Unreachable
from taskplane.unit.lease import HEARTBEAT_SECONDS, LEASE_SECONDS, Lease, now
from taskplane.unit.postbox import Postbox
from taskplane.unit.reports import AttemptKey, key_of
from taskplane.unit.runner import Runner
from taskplane.unit.workload import Workload
from taskplane.v1.execution_unit_control_pb2 import DropReason, Hello, Report, Verdict, VerdictAction

logger = logging.getLogger("taskplane.unit")

# A heartbeat goes out after this part of the interval, so that it is answered before the whole has passed.
_HEARTBEAT_PART = 0.8
# What is still to be said when the unit leaves has so long.
_FAREWELL_SECONDS = 5.0

_NOT_FOUND = 404
_CONFLICT = 409


@dataclass(frozen=True)
class Site:
    """Where the server is, where the unit listens, and how the server reaches it there (None: as it listens)."""

    server: str
    host: str
    port: int
    endpoint: str | None = None


class _Refused(Exception):
    """The server cannot take what was said, now or ever."""


class _IdTaken(Exception):
    """Another process has the unit's id, and answers."""


class HttpLink:
    """What `link.Link` is for the stream, for HTTP: says what the postbox holds, on a thread of its own.

    `on_drain` is called when an operator has drained the unit, `on_failure` with what ends it.
    """

    def __init__(  # noqa: PLR0913 - as the other link
        self,
        site: Site,
        introduction: Hello,
        workload: Workload,
        commands: Commands,
        postbox: Postbox,
        *,
        runner: Runner,
        lease: Lease,
        on_drain: Callable[[float | None], None],
        on_failure: Callable[[Exception], object],
    ) -> None:
        """Listens; raises OSError if the port is taken."""
        self._rest = Rest(site.server)
        self._face = Face(site.host, site.port, workload, commands, runner)
        self._endpoint = site.endpoint or f"http://{site.host}:{self._face.port}"
        self._introduction = introduction
        self._workload = workload
        self._postbox = postbox
        self._lease = lease
        self._on_drain = on_drain
        self._on_failure = on_failure
        self._is_registered = False
        self._draining = False
        self._draining_unsaid = False
        self._leaving = threading.Event()
        self._heartbeat_seconds = HEARTBEAT_SECONDS
        self._thread = threading.Thread(target=self._run, name="taskplane-link", daemon=True)

    def start(self) -> None:
        """Answers requests, and registers."""
        self._face.open()
        self._thread.start()

    def drain(self) -> None:
        """Tells the server that no slot is free any more."""
        self._draining = self._draining_unsaid = True
        self._postbox.nudge()

    def leave(self) -> None:
        """Says what is left to be said, and ends. Blocks, at most for the farewell."""
        self._leaving.set()
        self._postbox.nudge()
        self._thread.join(_FAREWELL_SECONDS)
        self._postbox.close()
        self._face.close()

    def _run(self) -> None:
        try:
            self._keep_in_touch()
        except Exception as error:  # noqa: BLE001 - it ends the unit, which raises it
            self._on_failure(error)

    def _keep_in_touch(self) -> None:
        backoff = Backoff(self._lease)
        while not self._leaving.is_set():
            try:
                self._greet()
                backoff.start_over()
                self._converse(self._postbox.open())
            except Unreachable as error:
                delay = backoff.next_seconds()
                logger.warning("http: %s; trying again in %.1f s", error, delay)
                self._leaving.wait(delay)
            except _IdTaken as error:
                # The server has given this process's attempts away, or will not let it speak for them.
                self._lease.end()
                delay = backoff.seconds_while_taken()
                text = "http: another process has this unit's id; trying again in %.1f s: %s"
                logger.error(text, delay, error)  # noqa: TRY400 - where it comes from is known
                self._leaving.wait(delay)
        logger.info("http: left")

    def _greet(self) -> None:
        """Makes the server know the unit, and hears what became of the attempts that it holds."""
        sent_at = now()
        lease_seconds = None if self._is_registered and self._heartbeat() else self._register()
        self._workload.judge([self._verdict(each.task_id, each.attempt) for each in self._workload.inventory()])
        # Only now, so that nothing goes on that was given away meanwhile.
        self._lease.renew(sent_at, lease_seconds)

    def _converse(self, ticket: int) -> None:
        """Says what is to be said until the unit leaves. Raises Unreachable; the rest is said in the next try."""
        next_heartbeat = now() + _HEARTBEAT_PART * self._heartbeat_seconds
        while True:
            reports = self._postbox.collect(ticket, self._is_urgent, max(0.0, next_heartbeat - now()))
            if reports is None:
                return
            for report in reports:
                self._say(report)
                self._workload.settle(self._postbox.acknowledge(report.sequence))
            if self._leaving.is_set() and not reports:
                return
            if now() >= next_heartbeat or self._draining_unsaid:
                next_heartbeat = now() + _HEARTBEAT_PART * self._heartbeat_seconds
                self._renew()

    def _renew(self) -> None:
        sent_at = now()
        # A heartbeat also succeeds after the server has given the unit's attempts away, and says nothing of them.
        if not (self._heartbeat() and self._lease.extend(sent_at)):
            self._greet()

    def _is_urgent(self) -> bool:
        return self._draining_unsaid or self._leaving.is_set()

    def _register(self) -> float:
        """Returns how long leases are. Raises UnitRejected, and _IdTaken."""
        self._is_registered = False
        answer = self._rest.post("/api/execution-units", registration(self._introduction, self._endpoint))
        if answer.error.get("reason") == "UNIT_ID_TAKEN":
            raise _IdTaken(_text(answer))
        if not answer.is_success:
            raise UnitRejected(f"the server refuses this unit: HTTP {answer.status}: {_text(answer)}")
        # What the server made up counts from now on.
        self._introduction.unit_id = answer.document["id"]
        self._heartbeat_seconds = float(answer.document.get("heartbeatIntervalSeconds", HEARTBEAT_SECONDS))
        self._is_registered = True
        logger.info("http: registered as unit_id=%s endpoint=%s", self._introduction.unit_id, self._endpoint)
        return float(answer.document.get("leaseSeconds", LEASE_SECONDS))

    def _heartbeat(self) -> bool:
        """Returns whether the server knows the unit, and this process as it."""
        body = {"capacity": 0 if self._draining else self._introduction.capacity}
        self._draining_unsaid = False
        # An id may hold what means something in a URL.
        unit_id = quote(self._introduction.unit_id, safe="")
        answer = self._rest.post(f"/api/execution-units/{unit_id}/heartbeat", body)
        if answer.document.get("status") == "OFFLINE":
            # A heartbeat brings every unit back but one that an operator has drained.
            self._on_drain(None)
        return answer.is_success and answer.document.get("endpoint") == self._endpoint

    def _say(self, report: Report) -> None:
        said = callback(report)
        if said is None:
            return
        sent_at = now()
        try:
            verdict = self._call_back(report.task_id, said)
        except _Refused as refused:
            logger.error("http: %s of task %s is refused: %s", said["status"], report.task_id, refused)  # noqa: TRY400
            text = f"the server refuses what the unit reports: {refused}"
            verdict = self._call_back(
                report.task_id, {"status": "FAILED", "errorMessage": text, "attempt": report.attempt}
            )
            self._workload.drop(key_of(report), DropReason.DROP_REASON_SUPERSEDED)
        if verdict.action == VerdictAction.VERDICT_ACTION_DROP:
            self._workload.drop(key_of(report), verdict.drop_reason)
        # A lease that is over stays so until the next heartbeat, since this answer speaks of one attempt only.
        self._lease.extend(sent_at)

    def _verdict(self, task_id: int, attempt: int) -> Verdict:
        held = self._workload.find(AttemptKey(task_id, attempt))
        progress: dict[str, Any] = {"status": "RUNNING", "attempt": attempt}
        if held is None:  # it has ended meanwhile
            return Verdict(task_id=task_id, attempt=attempt, action=VerdictAction.VERDICT_ACTION_KEEP)
        return self._call_back(task_id, progress)

    def _call_back(self, task_id: int, said: dict[str, Any]) -> Verdict:
        """Tells how an attempt is, and returns what becomes of it. Raises Unreachable, or _Refused for bad words."""
        said["unitId"] = self._introduction.unit_id
        answer = self._rest.post(f"/api/tasks/{task_id}/status", said)
        verdict = Verdict(task_id=task_id, attempt=said["attempt"], action=VerdictAction.VERDICT_ACTION_KEEP)
        if answer.status in (_NOT_FOUND, _CONFLICT):
            verdict.action = VerdictAction.VERDICT_ACTION_DROP
            verdict.drop_reason = _drop_reason(answer)
        elif not answer.is_success:
            raise _Refused(f"HTTP {answer.status}: {_text(answer)}")
        elif answer.document.get("verdict") == "PAUSE":
            verdict.action = VerdictAction.VERDICT_ACTION_PAUSE
        return verdict


def _drop_reason(answer: Answer) -> DropReason.ValueType:
    """SUPERSEDED, which leaves all things as they are, unless the server says otherwise."""
    if answer.error.get("reason") == "TASK_NOT_FOUND":
        return DropReason.DROP_REASON_DELETED
    details = answer.error.get("details", {})
    name = f"DROP_REASON_{details.get('metadata', {}).get('dropReason', 'SUPERSEDED')}"
    return DropReason.Value(name) if name in DropReason.keys() else DropReason.DROP_REASON_SUPERSEDED  # noqa: SIM118


def _text(answer: Answer) -> str:
    return str(answer.error.get("message", ""))
