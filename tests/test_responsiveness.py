"""The monitor of probes itself: a server that stands still is noticed."""

import os
import signal
import time
from pathlib import Path

from support.responsiveness import monitored, server_process


def test_a_pause_of_the_server_shows_as_the_longest_wait(tmp_path: Path) -> None:
    with server_process(f"sqlite:///{tmp_path / 'taskplane.db'}") as server:
        with monitored(server) as probes:
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(0.5)  # the wait itself is what is measured
            os.kill(server.pid, signal.SIGCONT)
        assert probes.http.longest > 0.4
        assert probes.grpc.longest > 0.4
        assert probes.rss_after > 0
        assert server.descriptors > 0
