"""Figures as messages of taskplane.v1."""

from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.server.rpc.messages import seconds_message
from taskplane.server.services.statistics import Statistics
from taskplane.v1 import operations_service_pb2 as pb
from taskplane.v1 import task_pb2


def statistics_message(statistics: Statistics) -> pb.GetStatisticsResponse:
    """Return the figures, with every status in the order of the enum."""
    tasks, units, oldest = statistics.tasks, statistics.units, statistics.oldest_queued
    taken_at = Timestamp()
    taken_at.FromDatetime(statistics.taken_at)
    counts = {task_pb2.TaskStatus.Value(f"TASK_STATUS_{status}"): count for status, count in tasks.by_status.items()}
    return pb.GetStatisticsResponse(
        taken_at=taken_at,
        tasks=[pb.StatusCount(status=status, count=count) for status, count in sorted(counts.items())],
        queued=tasks.queue.length,
        oldest_queued=None if oldest is None else seconds_message(oldest.total_seconds()),
        success_rate=statistics.success_rate,
        mean_active_time=seconds_message(statistics.mean_active_seconds),
        finished_per_second=statistics.finished_per_second,
        failures=tasks.failures,
        units_connected=units.connected,
        slots=units.slots,
        slots_used=units.slots_used,
    )
