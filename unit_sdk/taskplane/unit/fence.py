"""Self-fence: the unit holds its attempts before the server gives them away."""

import logging
import threading

from taskplane.unit.lease import Lease
from taskplane.unit.workload import Workload

logger = logging.getLogger("taskplane.unit")


class Fence:
    """Holds every attempt when the lease is over, and lets them go on when it is renewed. On a thread of its own.

    What neither pauses nor comes to a safe point cannot be held. The verdicts of a Welcome are carried out before it
    renews the lease, so what was given away meanwhile does not go on.
    """

    def __init__(self, lease: Lease, workload: Workload) -> None:
        self._lease = lease
        self._workload = workload
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="taskplane-fence", daemon=True)

    def start(self) -> None:
        """Begins to watch the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is held stays so."""
        self._stopping = True
        self._lease.wake()
        self._thread.join()

    def _run(self) -> None:
        is_valid = True
        while not self._stopping:
            was_valid, is_valid = is_valid, self._lease.wait_for_change(until=lambda: self._stopping)
            if was_valid and not is_valid:
                logger.warning("fence: out of touch with the server for too long, attempts are held")
                self._workload.fence()
            if is_valid and not was_valid:
                logger.info("fence: in touch with the server again, attempts go on")
                self._workload.unfence()
