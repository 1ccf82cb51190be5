"""One session: a gRPC stream from Hello to its end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from taskplane.unit.lease import (
    ACCEPT_SECONDS,
    HEARTBEAT_FRACTION,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    Lease,
    LeaseTracker,
    now,
)
from taskplane.unit.report_queue import ReportQueue
from taskplane.unit.stream.channel import open_channel
from taskplane.v1.execution_unit_control_pb2 import (
    Draining,
    Goodbye,
    Hello,
    Reports,
    ServerMessage,
    UnitHeartbeat,
    UnitMessage,
    Welcome,
)
from taskplane.v1.execution_unit_control_pb2_grpc import ExecutionUnitControlStub

logger = logging.getLogger("taskplane.unit")

# Seconds without a Welcome after which the connection counts as dead.
HELLO_SECONDS = 10.0
# Seconds to wait for the end of an aborted stream; gRPC normally ends it at once.
_ABORT_SECONDS = 5.0


class StreamSession:
    """Sends Hello, then every queued report, and passes the server's messages to `receive`.

    Each session has a channel and three threads: the caller of `run` watches for a dead connection, one thread reads,
    and one of gRPC's sends. So neither a blocking executor nor a stuck connection stops the other parts.
    """

    def __init__(
        self,
        server: str,
        hello: Hello,
        report_queue: ReportQueue,
        lease: Lease,
        receive: Callable[[ServerMessage], None],
    ) -> None:
        """Open the stream."""
        self.is_welcomed = False
        self._hello = hello
        self._report_queue = report_queue
        self._receive = receive
        self._must_announce_drain = False
        self._must_say_goodbye = False
        # Set by Welcome and by the end of the stream: the sending thread waits for either.
        self._may_send = threading.Event()
        self._over = threading.Event()
        self._error: Exception | None = None
        self._heartbeat_seconds = HEARTBEAT_SECONDS
        self._lease_seconds = LEASE_SECONDS
        self._lease_tracker = LeaseTracker(lease)
        self._dead_at = time.monotonic() + HELLO_SECONDS
        self._channel = open_channel(server)
        self._call = ExecutionUnitControlStub(self._channel).Connect(self._outgoing(report_queue.begin_session()))

    def run(self) -> None:
        """Run until the server ends the stream. Raises RpcError if the stream broke, and any error of `receive`."""
        reader = threading.Thread(target=self._read, name="taskplane-reader", daemon=True)
        reader.start()
        try:
            self._watch()
        finally:
            self._report_queue.end_session()
            self._call.cancel()
            reader.join(_ABORT_SECONDS)
            if reader.is_alive():
                logger.error("session: the stream does not end, it is left behind")
            self._channel.close()
        if self._error is not None:
            raise self._error

    def announce_drain(self) -> None:
        """Send Draining. From any thread."""
        self._must_announce_drain = True
        self._report_queue.wake()

    def say_goodbye(self) -> None:
        """Send Goodbye after the last report; before Welcome, abort at once. From any thread."""
        self._must_say_goodbye = True
        self._report_queue.wake()
        if not self.is_welcomed:
            self.abort()

    def abort(self) -> None:
        """Break the connection. From any thread."""
        self._call.cancel()

    def _watch(self) -> None:
        self._may_send.wait(HELLO_SECONDS)  # afterwards the lease counts, which may be shorter
        while not self._over.wait(timeout=max(0.0, self._dead_at - time.monotonic())):
            if time.monotonic() >= self._dead_at:
                logger.warning("session: nothing heard from the server for too long, the connection is dropped")
                self.abort()
                self._over.wait(_ABORT_SECONDS)
                return

    def _read(self) -> None:
        try:
            for message in self._call:
                self._process(message)
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._error = error
        finally:
            self._over.set()
            self._may_send.set()

    def _process(self, message: ServerMessage) -> None:
        if message.HasField("welcome"):
            self._apply_intervals(message.welcome)
        self._dead_at = time.monotonic() + self._lease_seconds
        self._receive(message)
        if message.HasField("ack"):
            self._lease_tracker.acknowledged(message.ack.sequence, message.ack.heartbeat)
        if message.HasField("welcome"):
            # After the verdicts are applied: a dropped attempt must neither report nor continue.
            self._lease_tracker.welcomed(self._lease_seconds)
            self.is_welcomed = True
            self._may_send.set()

    def _apply_intervals(self, welcome: Welcome) -> None:
        self._heartbeat_seconds = welcome.heartbeat_interval.ToMilliseconds() / 1000 or HEARTBEAT_SECONDS
        self._lease_seconds = welcome.lease_duration.ToMilliseconds() / 1000 or LEASE_SECONDS

    def _outgoing(self, session: int) -> Iterator[UnitMessage]:
        """Yield the messages to gRPC, which takes the next one after the last is sent; reports gather in between."""
        yield UnitMessage(hello=self._hello)
        self._may_send.wait()
        # Often enough to know that every received start is fresh, even if the server asks for fewer heartbeats.
        interval = HEARTBEAT_FRACTION * min(self._heartbeat_seconds, ACCEPT_SECONDS)
        next_heartbeat = now() + interval
        while True:
            reports = self._report_queue.take(session, self._is_urgent, max(0.0, next_heartbeat - now()))
            if reports is None:
                return
            if self._must_announce_drain:
                self._must_announce_drain = False
                yield UnitMessage(draining=Draining(reason="the unit is shutting down"))
            if reports:
                self._lease_tracker.reports_sent(reports[-1].sequence)
                yield UnitMessage(reports=Reports(reports=reports))
            elif self._is_done():
                yield UnitMessage(goodbye=Goodbye(reason="the unit is shut down"))
                return
            # In addition to reports: their acknowledgement may wait for a database, that of a heartbeat never does.
            if now() >= next_heartbeat:
                next_heartbeat = now() + interval
                yield UnitMessage(heartbeat=UnitHeartbeat(number=self._lease_tracker.heartbeat_sent()))

    def _is_urgent(self) -> bool:
        return self._must_announce_drain or self._is_done()

    def _is_done(self) -> bool:
        """Whether only Goodbye is left to be sent."""
        return self._must_say_goodbye and not self._report_queue.has_unsent
