"""The unit's gRPC connection: one session after another, until the unit leaves."""

import logging
import threading
from collections.abc import Callable
from typing import assert_never

import grpc

from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.backoff import Backoff
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.lease import Lease
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.runner import Runner
from taskplane.unit.stream.channel import fatal_error, is_id_taken
from taskplane.unit.stream.session import StreamSession
from taskplane.v1.execution_unit_control_pb2 import Hello, ServerMessage, Welcome

logger = logging.getLogger("taskplane.unit")

# Seconds for the server to close the stream after Goodbye, before the unit aborts it.
_CLOSE_SECONDS = 5.0


class StreamConnection:
    """The unit's side of the stream protocol, in a thread.

    `on_drain` is called with the seconds granted by an operator's drain, None for no bound; `on_failure` with the error
    of a unit that ends, after the last message. Both are called on the connection's threads.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of a connection
        self,
        server: str,
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
        self._server = server
        self._introduction = introduction
        self._registry = registry
        self._command_handler = command_handler
        self._report_queue = report_queue
        self._lease = lease
        self._on_drain = on_drain
        self._on_failure = on_failure
        self._is_draining = False
        self._is_closing = threading.Event()
        self._session: StreamSession | None = None
        self._thread = threading.Thread(target=self._run, name="taskplane-connection", daemon=True)

    def start(self) -> None:
        """Connect, and reconnect until `close`."""
        self._thread.start()

    def announce_drain(self) -> None:
        """Send Draining, in this session and in every later one."""
        self._is_draining = True
        if (session := self._session) is not None:
            session.announce_drain()

    def close(self) -> None:
        """Send Goodbye if there is a session, and disconnect. Blocks for 5 s at most."""
        self._is_closing.set()
        if (session := self._session) is not None:
            session.say_goodbye()
            self._thread.join(_CLOSE_SECONDS)
            session.abort()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._keep_connected()
        except Exception as error:  # noqa: BLE001 - ends the unit, which raises it
            self._on_failure(error)

    def _keep_connected(self) -> None:
        backoff = Backoff(self._lease)
        while not self._is_closing.is_set():
            session = self._session = self._open_session()
            # `announce_drain` and `close` set a flag before they look for the session, so either side sees the other.
            if self._is_draining:
                session.announce_drain()
            if self._is_closing.is_set():
                session.say_goodbye()
            error = _run_until_it_breaks(session)
            if session.is_welcomed:
                backoff.reset()
            if not self._is_closing.is_set():
                self._is_closing.wait(self._seconds_to_wait(error, backoff))
        logger.info("session: left")

    def _seconds_to_wait(self, error: grpc.RpcError | None, backoff: Backoff) -> float:
        reason = f"{error.code().name}: {error.details()}" if error else "the server has ended the stream"
        if error and is_id_taken(error):
            # The server has given this process's attempts to others, or refuses its reports.
            self._lease.end()
            delay = backoff.seconds_while_taken()
            logger.error("session: another process has this unit's id; trying again in %.1f s: %s", delay, reason)
        else:
            delay = backoff.next_seconds()
            logger.warning("session: %s; reconnecting in %.1f s", reason, delay)
        return delay

    def _open_session(self) -> StreamSession:
        hello = Hello(inventory=self._registry.inventory())
        hello.MergeFrom(self._introduction)
        logger.info("session: connecting to %s with %d attempts", self._server, len(hello.inventory))
        return StreamSession(self._server, hello, self._report_queue, self._lease, self._receive)

    def _receive(self, message: ServerMessage) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                self._welcome(message.welcome)
            case "commands":
                for command in message.commands.commands:
                    self._command_handler.handle(command)
            case "ack":
                self._registry.remove_ended(self._report_queue.acknowledge(message.ack.sequence))
            case "drain":
                timeout = message.drain.timeout.ToMilliseconds() / 1000 if message.drain.HasField("timeout") else None
                self._on_drain(timeout)
            case "report_rejected":
                logger.warning("session: the server has refused a report: %s", message.report_rejected)
            case None:
                pass  # a message of a newer server, to be ignored
            case body:
                assert_never(body)

    def _welcome(self, welcome: Welcome) -> None:
        logger.info("session: welcomed as unit_id=%s session_id=%s", welcome.unit_id, welcome.session_id)
        # An id that the server assigned is used in every later session.
        self._introduction.unit_id = welcome.unit_id
        self._registry.apply_verdicts(welcome.verdicts)


def _run_until_it_breaks(session: StreamSession) -> grpc.RpcError | None:
    """Return the error at the end of the session, None if the server ended it. Raises errors that end the unit."""
    try:
        session.run()
    except grpc.RpcError as error:
        if (fatal := fatal_error(error)) is not None:
            raise fatal from error
        return error
    return None
