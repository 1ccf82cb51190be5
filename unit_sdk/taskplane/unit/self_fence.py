"""Self-fencing: the unit holds its attempts before the server gives them to other units."""

import logging
import threading

from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.lease import Lease

logger = logging.getLogger("taskplane.unit")


class SelfFence:
    """Holds every attempt when the lease is over, and lets attempts continue after a renewal. Runs in a thread.

    An executor without `pause` and without safe points cannot be held. The verdicts of a Welcome are applied before the
    lease is renewed, so an attempt that was given to another unit never continues here.
    """

    def __init__(self, lease: Lease, registry: AttemptRegistry) -> None:
        self._lease = lease
        self._registry = registry
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="taskplane-fence", daemon=True)

    def start(self) -> None:
        """Start to watch the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; fenced attempts stay fenced."""
        self._stopping = True
        self._lease.wake()
        self._thread.join()

    def _run(self) -> None:
        is_valid = True
        while not self._stopping:
            was_valid, is_valid = is_valid, self._lease.wait_for_change(until=lambda: self._stopping)
            if was_valid and not is_valid:
                logger.warning("fence: out of touch with the server for too long, attempts are held")
                self._registry.fence()
            if is_valid and not was_valid:
                logger.info("fence: in touch with the server again, attempts continue")
                self._registry.unfence()
