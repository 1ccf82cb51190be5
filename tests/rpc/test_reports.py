"""Reports of a unit about its attempts, and their effects."""

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from rpc.conftest import Connect
from rpc.raw_unit import NamesAnAttempt, RawUnit, checkpoint, struct
from rpc.server import Wire, status_name
from rpc.tasks import create, paused, running

from taskplane.v1 import execution_unit_control_pb2 as unit_pb
from taskplane.v1 import task_pb2
from taskplane.v1 import task_service_pb2 as pb

TOO_BIG = struct({"text": "x" * (1024 * 1024)})
LONG_KEY = struct({"k" * 65_536: 1})
NOT_JSON = Struct(fields={"rate": Value(number_value=float("nan"))})


async def test_a_task_succeeds_with_its_result(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, progress=unit_pb.ProgressReport(fraction=0.9))
    await unit.report(start, succeeded=unit_pb.SucceededReport(result=struct({"rows": 3, "files": ["a"]})))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert status_name(task.status) == "SUCCESS"
    assert MessageToDict(task.result) == {"rows": 3, "files": ["a"]}
    assert task.started_at.ToNanoseconds() <= task.completed_at.ToNanoseconds()
    assert (await wire.history(task.id))[-1].changed_by == "unit:unit-1"


async def test_progress_is_seen_at_once_and_its_latest_value_counts(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    for fraction in (0.0, 0.25, 1.0, 0.5):
        await unit.report(start, progress=unit_pb.ProgressReport(fraction=fraction, message=f"at {fraction}"))
    await unit.all_acknowledged()
    progress = (await wire.get(start.task_id)).progress
    assert (progress.fraction, progress.message) == (0.5, "at 0.5")


async def test_a_long_progress_message_is_cut(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, progress=unit_pb.ProgressReport(fraction=0.5, message="x" * 5000))
    await unit.all_acknowledged()
    assert (await wire.get(start.task_id)).progress.message == "x" * 1000


async def assert_is_refused_alone(unit: RawUnit, about: NamesAnAttempt, field: str) -> None:
    """Check that the last report alone was refused by name, and the stream continues."""
    rejection = await unit.rejection()
    assert (rejection.task_id, rejection.attempt) == (about.task_id, about.attempt)
    assert rejection.message.startswith(f"{field}: ")
    await unit.all_acknowledged()
    assert rejection.sequence == unit.acknowledged
    acks = unit.acks  # read before, as the ack may arrive before `say` returns
    await unit.say(heartbeat=unit_pb.UnitHeartbeat(number=1))
    await unit.ack_number(acks + 1)


@pytest.mark.parametrize("fraction", [2.0, 100.0, -0.1, 1.01, float("nan"), float("inf")])
async def test_progress_out_of_range_fails_its_report_alone(fraction: float, wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, progress=unit_pb.ProgressReport(fraction=fraction))
    await assert_is_refused_alone(unit, start, "reports[0].progress.fraction")
    task = await wire.get(start.task_id)
    assert (status_name(task.status), task.HasField("progress")) == ("RUNNING", False)


@pytest.mark.parametrize(("fraction", "kept"), [(1.0000000000000002, 1.0), (1.001, 1.0), (-1e-17, 0.0)])
async def test_progress_a_little_out_of_range_is_rounded(
    fraction: float, kept: float, wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    await unit.report(start, progress=unit_pb.ProgressReport(fraction=fraction))
    await unit.all_acknowledged()
    assert (await wire.get(start.task_id)).progress.fraction == kept
    assert not unit.rejected


async def test_a_pause_counts_though_its_progress_is_out_of_range(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    progress = unit_pb.ProgressReport(fraction=float("nan"))
    await unit.report(start, paused=unit_pb.PausedReport(checkpoint=checkpoint(1, row=1), progress=progress))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (status_name(task.status), task.checkpoint.number, task.HasField("progress")) == ("PAUSED", 1, False)


@pytest.mark.parametrize("kind", ["paused", "failed", "released"])
async def test_a_last_word_with_a_bad_checkpoint_fails_the_task(kind: str, wire: Wire, unit: RawUnit) -> None:
    """Check that a bad last report fails the attempt: the unit has finished, so the task would stay RUNNING."""
    start = await running(wire, unit)
    report: Any = {
        "paused": unit_pb.PausedReport,
        "failed": unit_pb.FailedReport,
        "released": unit_pb.ReleasedReport,
    }[kind]
    await unit.report(start, **{kind: report(checkpoint=checkpoint(0))})
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert status_name(task.status) == "FAILED"
    assert kind in task.error_message
    assert "checkpoint.number" in task.error_message
    assert await wire.statuses(task.id) == ["PENDING", "RUNNING", "FAILED"]


@pytest.mark.parametrize("command_id", ["x" * 101, "a\x00b"])
@pytest.mark.parametrize(
    ("report", "status"),
    [
        ({"succeeded": unit_pb.SucceededReport()}, "SUCCESS"),
        ({"cancelled": unit_pb.CancelledReport()}, "CANCELLED"),
        ({"failed": unit_pb.FailedReport(message="no", not_retryable=True)}, "FAILED"),
    ],
    ids=["succeeded", "cancelled", "failed"],
)
async def test_the_end_of_an_attempt_counts_whatever_its_command_id(
    report: dict[str, Any], status: str, command_id: str, wire: Wire, unit: RawUnit
) -> None:
    """Check that only responses to commands need a valid command id: otherwise the task would stay RUNNING."""
    start = await running(wire, unit)
    await unit.report(start, command_id=command_id, **report)
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (status_name(task.status), unit.rejected) == (status, [])
    assert "command_id" not in task.error_message


async def test_checkpoints_are_kept_and_a_repeat_changes_nothing(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(1, row=1))
    await unit.report(start, checkpoint=checkpoint(5, row=5))
    await unit.report(start, checkpoint=checkpoint(5, row=55))
    await unit.report(start, checkpoint=checkpoint(3, row=3))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (task.checkpoint.number, MessageToDict(task.checkpoint.data)) == (5, {"row": 5})
    listed = (await wire.tasks.ListTaskCheckpoints(pb.ListTaskCheckpointsRequest(task_id=task.id))).checkpoints
    assert [(each.number, MessageToDict(each.data)) for each in listed] == [(5, {"row": 5}), (1, {"row": 1})]


async def test_lists_and_watches_leave_out_the_checkpoints_data(wire: Wire, unit: RawUnit) -> None:
    await paused(wire, unit)
    (listed,) = (await wire.tasks.ListTasks(pb.ListTasksRequest())).tasks
    assert (listed.checkpoint.number, listed.checkpoint.HasField("data")) == (1, False)


@pytest.mark.parametrize("number", [0, -1])
async def test_a_checkpoint_has_a_positive_number(number: int, wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, checkpoint=checkpoint(number))
    await assert_is_refused_alone(unit, start, "reports[0].checkpoint.number")
    assert status_name((await wire.get(start.task_id)).status) == "RUNNING"


@pytest.mark.parametrize(
    "report",
    [
        {"checkpoint": unit_pb.CheckpointReport(number=1, data=TOO_BIG)},
        {"checkpoint": unit_pb.CheckpointReport(number=1, data=NOT_JSON)},
        {"checkpoint": unit_pb.CheckpointReport(number=1, data=LONG_KEY)},
        {"paused": unit_pb.PausedReport(checkpoint=unit_pb.CheckpointReport(number=1, data=TOO_BIG))},
        {"succeeded": unit_pb.SucceededReport(result=TOO_BIG)},
    ],
    ids=[
        "checkpoint of 1 MiB",
        "checkpoint with NaN",
        "checkpoint with a key of 64 KiB",
        "pause with 1 MiB",
        "result of 1 MiB",
    ],
)
async def test_what_cannot_be_stored_fails_the_task_and_the_stream_lives(
    report: dict[str, object], wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    await unit.report(start, **report)
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert status_name(task.status) == "FAILED"
    assert next(iter(report)) in task.error_message
    assert await wire.statuses(task.id) == ["PENDING", "RUNNING", "FAILED"]
    await running(wire, unit)  # on the same stream


async def test_a_failure_is_retried_from_the_last_checkpoint(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, max_retries=1)
    last = checkpoint(2, row=9)
    await unit.report(start, failed=unit_pb.FailedReport(message="disk", checkpoint=last, retry_delay=Duration()))
    again = await unit.expect("start")
    await unit.accept(again)
    assert (again.task_id, again.attempt, again.start.retry_count) == (start.task_id, start.attempt + 1, 1)
    assert (again.start.checkpoint.number, again.start.last_checkpoint_number) == (2, 2)
    assert MessageToDict(again.start.checkpoint.data) == {"row": 9}
    task = await wire.get(start.task_id)
    assert (task.retry_count, task.error_message) == (1, "disk")
    await unit.report(again, failed=unit_pb.FailedReport(message="disk again"))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (status_name(task.status), task.error_message) == ("FAILED", "disk again")
    assert await wire.statuses(task.id) == ["PENDING", "RUNNING", "FAILED", "PENDING", "RUNNING", "FAILED"]


async def test_a_failure_that_no_retry_can_mend_is_not_retried(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit, max_retries=3)
    await unit.report(start, failed=unit_pb.FailedReport(message="bad config", not_retryable=True))
    await unit.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "FAILED"]


async def test_a_unit_says_how_long_to_wait_before_a_retry(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, failed=unit_pb.FailedReport(message="later", retry_delay=Duration(seconds=3600)))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert task.waiting_reason == task_pb2.WAITING_REASON_RETRY_BACKOFF
    assert 3590 < task.not_before.ToSeconds() - task.updated_at.ToSeconds() <= 3600


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (Duration(seconds=2**63 - 1), 365 * 24 * 3600),
        (Duration(seconds=365 * 24 * 3600, nanos=1), 365 * 24 * 3600),
        (Duration(seconds=-(2**63)), 0),
        (Duration(nanos=-(2**31)), 0),
        (Duration(seconds=1, nanos=1_500_000_000), 2.5),
    ],
    ids=["for ever", "a year and more", "long ago", "negative nanos", "more nanos than a second has"],
)
async def test_an_odd_delay_of_a_retry_is_brought_within_its_bounds(
    delay: Duration, seconds: float, wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    await unit.say(capacity=unit_pb.CapacityUpdate(capacity=0))
    await unit.report(start, failed=unit_pb.FailedReport(message="later", retry_delay=delay))
    await unit.all_acknowledged()
    task = await wire.get(start.task_id)
    assert task.not_before.ToMicroseconds() - task.queued_at.ToMicroseconds() == round(seconds * 1_000_000)


async def test_a_released_task_goes_on_elsewhere_and_no_retry_is_counted(wire: Wire, connect: Connect) -> None:
    leaving = await connect("leaving")
    start = await running(wire, leaving)
    await leaving.say(draining=unit_pb.Draining(reason="maintenance"))
    staying = await connect("staying")
    await leaving.report(start, released=unit_pb.ReleasedReport(checkpoint=checkpoint(1, row=6), message="maintenance"))
    again = await staying.expect("start")
    assert again.attempt == start.attempt + 1
    assert MessageToDict(again.start.checkpoint.data) == {"row": 6}
    task = await wire.get(start.task_id)
    assert (task.retry_count, task.error_message) == (0, "")
    assert await wire.statuses(task.id) == ["PENDING", "RUNNING", "PAUSED", "RUNNING"]


async def test_an_old_attempt_has_no_say_and_is_dropped(wire: Wire, connect: Connect) -> None:
    old = await connect("old", capacity=1)
    start = await running(wire, old)
    await old.report(start, failed=unit_pb.FailedReport(message="x", retry_delay=Duration()))
    again = await old.expect("start")
    await old.accept(again)
    before = await wire.get(start.task_id)
    for report in (
        {"progress": unit_pb.ProgressReport(fraction=0.9)},
        {"checkpoint": checkpoint(99, row=99)},
        {"paused": unit_pb.PausedReport()},
        {"succeeded": unit_pb.SucceededReport()},
        {"failed": unit_pb.FailedReport(message="late")},
        {"cancelled": unit_pb.CancelledReport()},
        {"released": unit_pb.ReleasedReport()},
    ):
        await old.report(start, **report)
    await old.all_acknowledged()
    drop = await old.expect("drop")
    assert (drop.task_id, drop.attempt) == (start.task_id, start.attempt)
    assert drop.drop.reason == unit_pb.DROP_REASON_SUPERSEDED
    after = await wire.get(start.task_id)
    assert (after.revision, after.attempt, after.HasField("progress")) == (before.revision, again.attempt, False)


async def test_another_units_word_on_an_attempt_does_not_count(wire: Wire, connect: Connect) -> None:
    start = await running(wire, await connect("runs-it"))
    stranger = await connect("stranger")
    await stranger.report(start, checkpoint=checkpoint(7))
    assert (await stranger.expect("drop")).task_id == start.task_id
    await stranger.report(start, succeeded=unit_pb.SucceededReport())
    await stranger.all_acknowledged()
    task = await wire.get(start.task_id)
    assert (status_name(task.status), task.HasField("checkpoint")) == ("RUNNING", False)


async def test_a_report_on_a_task_that_is_over_is_dropped(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    await unit.report(start, succeeded=unit_pb.SucceededReport())
    await unit.report(start, checkpoint=checkpoint(1))
    drop = await unit.expect("drop")
    assert drop.drop.reason == unit_pb.DROP_REASON_FINISHED
    await unit.all_acknowledged()
    assert not (await wire.get(start.task_id)).HasField("checkpoint")


async def test_a_report_on_a_task_that_does_not_exist_is_dropped(wire: Wire, unit: RawUnit) -> None:
    ghost = unit_pb.Command(task_id=4711, attempt=1)
    await unit.report(ghost, checkpoint=checkpoint(1))
    drop = await unit.expect("drop")
    assert (drop.task_id, drop.attempt, drop.drop.reason) == (4711, 1, unit_pb.DROP_REASON_DELETED)
    await unit.all_acknowledged()


async def test_a_repeat_of_the_last_word_does_no_harm(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    for _ in range(3):
        await unit.report(start, succeeded=unit_pb.SucceededReport(result=struct({"rows": 3})))
    await unit.all_acknowledged()
    assert await wire.statuses(start.task_id) == ["PENDING", "RUNNING", "SUCCESS"]
    assert MessageToDict((await wire.get(start.task_id)).result) == {"rows": 3}


async def test_a_rejected_start_is_offered_again_and_costs_no_retry(wire: Wire, unit: RawUnit) -> None:
    task = await create(wire, start=True, max_retries=0)
    await unit.reject(await unit.expect("start"), unit_pb.REJECT_REASON_NO_SLOT)
    again = await unit.expect("start")
    assert (again.task_id, again.start.retry_count) == (task.id, 0)
    assert (await wire.get(task.id)).retry_count == 0


async def test_an_unknown_reason_of_a_rejection_is_as_any_other(wire: Wire, unit: RawUnit) -> None:
    task = await create(wire, start=True)
    newer: Any = 99  # than the server
    await unit.reject(await unit.expect("start"), newer, "out of paper")
    assert (await unit.expect("start")).task_id == task.id
    assert (await wire.history(task.id))[2].reason == "the unit refused: OTHER: out of paper"


DONE = unit_pb.SucceededReport()
BAD_SEQUENCES: list[tuple[str, unit_pb.Report]] = [
    ("a gap", unit_pb.Report(sequence=2, task_id=1, attempt=1, succeeded=DONE)),
    ("no sequence", unit_pb.Report(task_id=1, attempt=1, succeeded=DONE)),
]
BAD_REPORTS: list[tuple[str, unit_pb.Report, str]] = [
    ("no task", unit_pb.Report(attempt=1, succeeded=DONE), "task_id"),
    ("a negative task", unit_pb.Report(task_id=-5, attempt=1, succeeded=DONE), "task_id"),
    ("no attempt", unit_pb.Report(task_id=1, succeeded=DONE), "attempt"),
    ("no command", unit_pb.Report(task_id=1, attempt=1, accepted=unit_pb.CommandAccepted()), "command_id"),
    ("no refused command", unit_pb.Report(task_id=1, attempt=1, rejected=unit_pb.CommandRejected()), "command_id"),
    (
        "a long command",
        unit_pb.Report(task_id=1, attempt=1, command_id="x" * 101, accepted=unit_pb.CommandAccepted()),
        "command_id",
    ),
]


@pytest.mark.parametrize(("case", "report"), BAD_SEQUENCES, ids=[row[0] for row in BAD_SEQUENCES])
async def test_a_bad_sequence_ends_the_stream(case: str, report: unit_pb.Report, unit: RawUnit) -> None:
    await unit.say(reports=unit_pb.Reports(reports=[report]))
    refusal = await unit.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert refusal.fields == ["reports.sequence"]


@pytest.mark.parametrize(("case", "report", "field"), BAD_REPORTS, ids=[row[0] for row in BAD_REPORTS])
async def test_a_bad_report_fails_alone_and_names_the_field(
    case: str, report: unit_pb.Report, field: str, wire: Wire, unit: RawUnit
) -> None:
    start = await running(wire, unit)
    good = unit_pb.Report(task_id=start.task_id, attempt=start.attempt)
    before, after = unit_pb.Report(), unit_pb.Report()
    before.CopyFrom(good)
    after.CopyFrom(good)
    before.progress.fraction = 0.5
    after.succeeded.SetInParent()
    await unit.report_all(before, report, after)
    await unit.all_acknowledged()
    rejection = await unit.rejection()
    assert (rejection.task_id, rejection.attempt, rejection.sequence) == (
        report.task_id,
        report.attempt,
        unit.acknowledged - 1,
    )
    assert rejection.message.startswith(f"reports[1].{field}: ")
    assert status_name((await wire.get(start.task_id)).status) == "SUCCESS"


async def test_a_report_of_an_unknown_kind_is_acknowledged_and_ignored(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    newer = unit_pb.Report.FromString(b"\xfa\x01\x00")  # field 31, unknown to this server
    newer.task_id, newer.attempt = start.task_id, start.attempt
    await unit.report_all(newer, unit_pb.Report(task_id=start.task_id, attempt=start.attempt))
    await unit.all_acknowledged()
    assert not unit.rejected
    assert status_name((await wire.get(start.task_id)).status) == "RUNNING"


async def test_a_message_has_up_to_1000_reports(unit: RawUnit) -> None:
    await unit.say(reports=unit_pb.Reports(reports=[unit_pb.Report()] * 1001))
    assert (await unit.refusal()).fields == ["reports"]


async def test_a_repeated_sequence_ends_the_stream(wire: Wire, unit: RawUnit) -> None:
    start = await running(wire, unit)
    report = unit_pb.Report(
        sequence=1, task_id=start.task_id, attempt=start.attempt, succeeded=unit_pb.SucceededReport()
    )
    await unit.say(reports=unit_pb.Reports(reports=[report]))
    assert (await unit.refusal()).fields == ["reports.sequence"]
    assert status_name((await wire.get(start.task_id)).status) == "RUNNING"
