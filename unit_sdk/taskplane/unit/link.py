"""Keeps the unit connected: one session after another, for ever."""

import logging
import threading
from collections.abc import Callable
from typing import assert_never

import grpc

from taskplane.unit.backoff import Backoff
from taskplane.unit.channel import fatal_error, is_id_taken
from taskplane.unit.commands import Commands
from taskplane.unit.lease import Lease
from taskplane.unit.postbox import Postbox
from taskplane.unit.runner import Runner
from taskplane.unit.session import Session
from taskplane.unit.workload import Workload
from taskplane.v1.execution_unit_control_pb2 import Hello, ServerMessage, Welcome

logger = logging.getLogger("taskplane.unit")

# The server has so long to close its side after Goodbye.
_FAREWELL_SECONDS = 5.0


class Link:
    """The unit's side of the protocol, on a thread of its own.

    `on_drain` is called with the seconds that an operator grants, None if there is no bound; `on_failure` with what
    ends the unit, after which nothing more is sent. Both from the link's threads.
    """

    def __init__(  # noqa: PLR0913 - all that the protocol moves
        self,
        server: str,
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
        self._server = server
        self._introduction = introduction
        self._workload = workload
        self._commands = commands
        self._postbox = postbox
        self._lease = lease
        self._on_drain = on_drain
        self._on_failure = on_failure
        self._draining = False
        self._leaving = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="taskplane-link", daemon=True)

    def start(self) -> None:
        """Connects."""
        self._thread.start()

    def drain(self) -> None:
        """Says Draining, in every session from now on."""
        self._draining = True
        if (session := self._session) is not None:
            session.say_draining()

    def leave(self) -> None:
        """Says Goodbye if there is a session, and ends. Blocks, at most for the farewell."""
        self._leaving.set()
        if (session := self._session) is not None:
            session.leave()
            self._thread.join(_FAREWELL_SECONDS)
            session.cut()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._keep_connected()
        except Exception as error:  # noqa: BLE001 - it ends the unit, which raises it
            self._on_failure(error)

    def _keep_connected(self) -> None:
        backoff = Backoff(self._lease)
        while not self._leaving.is_set():
            session = self._session = self._open_session()
            self._catch_up(session)
            error = _run_until_it_breaks(session)
            if session.is_welcomed:
                backoff.start_over()
            if not self._leaving.is_set():
                self._leaving.wait(self._seconds_to_wait(error, backoff))
        logger.info("session: left")

    def _seconds_to_wait(self, error: grpc.RpcError | None, backoff: Backoff) -> float:
        reason = f"{error.code().name}: {error.details()}" if error else "the server has ended the stream"
        if error and is_id_taken(error):
            # The server has given this process's attempts away, or will not let it speak for them.
            self._lease.end()
            delay = backoff.seconds_while_taken()
            logger.error("session: another process has this unit's id; trying again in %.1f s: %s", delay, reason)
        else:
            delay = backoff.next_seconds()
            logger.warning("session: %s; reconnecting in %.1f s", reason, delay)
        return delay

    def _open_session(self) -> Session:
        hello = Hello(inventory=self._workload.inventory())
        hello.MergeFrom(self._introduction)
        logger.info("session: connecting to %s with %d attempts", self._server, len(hello.inventory))
        return Session(self._server, hello, self._postbox, self._lease, self._receive)

    def _catch_up(self, session: Session) -> None:
        # `drain` and `leave` note what they want before they look for the session: one of the two sides sees it.
        if self._draining:
            session.say_draining()
        if self._leaving.is_set():
            session.leave()

    def _receive(self, message: ServerMessage) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                self._welcome(message.welcome)
            case "commands":
                for command in message.commands.commands:
                    self._commands.obey(command)
            case "ack":
                self._workload.settle(self._postbox.acknowledge(message.ack.sequence))
            case "drain":
                timeout = message.drain.timeout.ToMilliseconds() / 1000 if message.drain.HasField("timeout") else None
                self._on_drain(timeout)
            case "report_rejected":
                logger.warning("session: the server has refused a report: %s", message.report_rejected)
            case None:
                pass  # said by a newer server, to be ignored
            case body:
                assert_never(body)

    def _welcome(self, welcome: Welcome) -> None:
        logger.info("session: welcomed as unit_id=%s session_id=%s", welcome.unit_id, welcome.session_id)
        # What the server made up counts for every later session.
        self._introduction.unit_id = welcome.unit_id
        self._workload.judge(welcome.verdicts)


def _run_until_it_breaks(session: Session) -> grpc.RpcError | None:
    """Returns the error that ended the session, if one did; raises what the unit cannot come back from."""
    try:
        session.run()
    except grpc.RpcError as error:
        if (fatal := fatal_error(error)) is not None:
            raise fatal from error
        return error
    return None
