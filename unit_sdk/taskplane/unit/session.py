"""One connected stream, from Hello to its end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from taskplane.unit.channel import open_channel
from taskplane.unit.lease import ACCEPT_SECONDS, HEARTBEAT_SECONDS, LEASE_SECONDS, Lease, Proof, now
from taskplane.unit.postbox import Postbox
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

# Without a Welcome for so long, the connection is taken for dead.
HELLO_SECONDS = 10.0
# A stream that was cut ends at once, if gRPC does as it should.
_CUT_SECONDS = 5.0
# A heartbeat goes out after this part of the interval, so that it is answered before the whole has passed.
_HEARTBEAT_PART = 0.8


class Session:
    """Sends Hello, then whatever is posted, and hands what the server says to `receive`.

    On a connection of its own. The caller of `run` watches over it, a second thread reads, and one of gRPC's sends:
    neither an executor that blocks nor a connection that is stuck keeps the others from their part.
    """

    def __init__(
        self, server: str, hello: Hello, postbox: Postbox, lease: Lease, receive: Callable[[ServerMessage], None]
    ) -> None:
        """Opens the stream."""
        self.is_welcomed = False
        self._hello = hello
        self._postbox = postbox
        self._receive = receive
        self._draining_unsaid = False
        self._leaving = False
        # Set by Welcome, and by the end of the stream, so that the sending thread waits for either.
        self._may_send = threading.Event()
        self._over = threading.Event()
        self._error: Exception | None = None
        self._heartbeat_seconds = HEARTBEAT_SECONDS
        self._lease_seconds = LEASE_SECONDS
        self._proof = Proof(lease)
        self._dead_at = time.monotonic() + HELLO_SECONDS
        self._channel = open_channel(server)
        self._call = ExecutionUnitControlStub(self._channel).Connect(self._outgoing(postbox.open()))

    def run(self) -> None:
        """Returns when the server has ended the stream; raises RpcError if it broke, or what `receive` raised."""
        reader = threading.Thread(target=self._read, name="taskplane-reader", daemon=True)
        reader.start()
        try:
            self._watch()
        finally:
            self._postbox.close()
            self._call.cancel()
            reader.join(_CUT_SECONDS)
            if reader.is_alive():
                logger.error("session: the stream does not end, it is left behind")
            self._channel.close()
        if self._error is not None:
            raise self._error

    def say_draining(self) -> None:
        """Tells the server that the unit is about to leave. From any thread."""
        self._draining_unsaid = True
        self._postbox.nudge()

    def leave(self) -> None:
        """Says goodbye once nothing is left to be sent; gives up at once if not welcomed yet. From any thread."""
        self._leaving = True
        self._postbox.nudge()
        if not self.is_welcomed:
            self.cut()

    def cut(self) -> None:
        """Breaks the connection. From any thread."""
        self._call.cancel()

    def _watch(self) -> None:
        self._may_send.wait(HELLO_SECONDS)  # from then on the lease counts, which may be shorter
        while not self._over.wait(timeout=max(0.0, self._dead_at - time.monotonic())):
            if time.monotonic() >= self._dead_at:
                logger.warning("session: nothing heard from the server for too long, the connection is dropped")
                self.cut()
                self._over.wait(_CUT_SECONDS)
                return

    def _read(self) -> None:
        try:
            for message in self._call:
                self._take(message)
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._error = error
        finally:
            self._over.set()
            self._may_send.set()

    def _take(self, message: ServerMessage) -> None:
        if message.HasField("welcome"):
            self._adopt(message.welcome)
        self._dead_at = time.monotonic() + self._lease_seconds
        self._receive(message)
        if message.HasField("ack"):
            self._proof.acknowledged(message.ack.sequence, message.ack.heartbeat)
        if message.HasField("welcome"):
            # After the verdicts have been carried out, so that nothing is sent, or goes on, of what they drop.
            self._proof.welcomed(self._lease_seconds)
            self.is_welcomed = True
            self._may_send.set()

    def _adopt(self, welcome: Welcome) -> None:
        self._heartbeat_seconds = welcome.heartbeat_interval.ToMilliseconds() / 1000 or HEARTBEAT_SECONDS
        self._lease_seconds = welcome.lease_duration.ToMilliseconds() / 1000 or LEASE_SECONDS

    def _outgoing(self, ticket: int) -> Iterator[UnitMessage]:
        """What gRPC sends. It asks for the next message when the last is out, so whatever gathers goes together."""
        yield UnitMessage(hello=self._hello)
        self._may_send.wait()
        # Often enough to know of every start that it is fresh, even if the server asks for less.
        interval = _HEARTBEAT_PART * min(self._heartbeat_seconds, ACCEPT_SECONDS)
        next_heartbeat = now() + interval
        while True:
            reports = self._postbox.collect(ticket, self._is_urgent, max(0.0, next_heartbeat - now()))
            if reports is None:
                return
            if self._draining_unsaid:
                self._draining_unsaid = False
                yield UnitMessage(draining=Draining(reason="the unit is shutting down"))
            if reports:
                self._proof.reports(reports[-1].sequence)
                yield UnitMessage(reports=Reports(reports=reports))
            elif self._has_said_all():
                yield UnitMessage(goodbye=Goodbye(reason="the unit is shut down"))
                return
            # Beside reports too: their acknowledgement may wait for a database, a heartbeat's never does.
            if now() >= next_heartbeat:
                next_heartbeat = now() + interval
                yield UnitMessage(heartbeat=UnitHeartbeat(number=self._proof.heartbeat()))

    def _is_urgent(self) -> bool:
        return self._draining_unsaid or self._has_said_all()

    def _has_said_all(self) -> bool:
        """Whether nothing but the goodbye is left to be said."""
        return self._leaving and not self._postbox.has_unsent
