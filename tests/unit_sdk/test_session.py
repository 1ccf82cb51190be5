"""The stream: Hello, Welcome and verdicts, heartbeats, and reports over a break."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from unit_sdk.worker import Worker

from taskplane.unit import SyncTaskContext, TaskCancelled, TaskContext, TaskDropped, Unit
from taskplane.unit.report_queue import WINDOW_SIZE
from taskplane.unit.testing import ScriptedServer, ScriptedSession
from taskplane.v1.execution_unit_control_pb2 import AttemptState, DropReason, HeldAttempt, Verdict, VerdictAction
from taskplane.v1.execution_unit_pb2 import TaskTypeSupport

Connect = Callable[[Unit], ScriptedSession]
Run = Callable[[Unit], Any]

RUNNING = AttemptState.ATTEMPT_STATE_RUNNING
PAUSED = AttemptState.ATTEMPT_STATE_PAUSED
ENDED = AttemptState.ATTEMPT_STATE_ENDED


@pytest.fixture
def worker(unit: Unit) -> Worker:
    return Worker(unit)


def test_hello_introduces_the_unit(server: ScriptedServer, run: Run) -> None:
    unit = Unit(name="n", type="T", capacity=3, server=server.address, id="mine", labels={"zone": "a"})

    @unit.task("FIRST")
    async def first(task: TaskContext, config: dict[str, Any]) -> None: ...

    @unit.task("SECOND", can_pause=False, can_checkpoint=False)
    async def second(task: TaskContext, config: dict[str, Any]) -> None: ...

    run(unit)
    hello = server.session().hello

    assert (hello.protocol_version, hello.unit_id, hello.unit_type, hello.unit_name) == (1, "mine", "T", "n")
    assert (hello.capacity, dict(hello.labels)) == (3, {"zone": "a"})
    assert hello.boot_id
    assert hello.sdk.startswith("taskplane-python ")
    assert [*hello.task_types] == [
        TaskTypeSupport(task_type="FIRST", can_pause=True, can_checkpoint=True),
        TaskTypeSupport(task_type="SECOND"),
    ]
    assert not hello.inventory


def test_the_server_is_found_by_the_environment(
    server: ScriptedServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKPLANE_SERVER", server.address)
    unit = Unit(name="n", type="T")
    Worker(unit)
    run(unit)

    assert server.session().hello.unit_name == "n"


def test_the_id_that_the_server_gave_is_kept_and_so_is_the_boot_id(
    unit: Unit, worker: Worker, server: ScriptedServer, run: Run
) -> None:
    run(unit)
    first = server.session()
    first.welcome(unit_id="given")
    first.fail(grpc.StatusCode.UNAVAILABLE, "stopping", reason="SERVER_STOPPING")

    second = server.session()
    assert first.hello.unit_id == ""
    assert second.hello.unit_id == "given"
    assert second.hello.boot_id == first.hello.boot_id


def test_heartbeats_go_on_while_executors_block(unit: Unit, server: ScriptedServer, run: Run) -> None:
    unblock = threading.Event()

    @unit.task("BLOCKS")
    async def blocks(task: TaskContext, config: dict[str, Any]) -> None:
        unblock.wait()  # blocks the event loop itself

    run(unit)
    connected = server.session()
    connected.welcome(heartbeat_seconds=0.01)
    connected.start(1, 1, "BLOCKS")
    connected.expect("accepted")
    beats = connected.heartbeats

    connected.expect_heartbeats(beats + 5)
    connected.pause(1, 1)
    connected.expect("accepted")
    unblock.set()
    connected.expect("succeeded")


def test_heartbeats_pass_while_more_reports_wait_than_may_be_under_way(
    unit: Unit, server: ScriptedServer, run: Run
) -> None:
    @unit.task("TALKS")
    def talks(task: SyncTaskContext, config: dict[str, Any]) -> None:
        for row in range(2 * WINDOW_SIZE):
            task.report(checkpoint={"row": row})

    run(unit)
    connected = server.session()
    connected.welcome(heartbeat_seconds=0.01)
    connected.start(1, 1, "TALKS")
    for _ in range(WINDOW_SIZE - 1):  # the first report is the response to the start
        connected.expect("checkpoint")
    connected.expect_heartbeats(connected.heartbeats + 3)
    assert len(connected.reports) == WINDOW_SIZE
    connected.acknowledge()
    for _ in range(WINDOW_SIZE):
        connected.expect("checkpoint")
    connected.acknowledge()
    connected.expect("succeeded")

    numbers = [report.checkpoint.number for report in connected.reports if report.HasField("checkpoint")]
    assert numbers == list(range(1, 2 * WINDOW_SIZE + 1))
    assert [report.sequence for report in connected.reports] == list(range(1, 2 * WINDOW_SIZE + 3))


def test_reports_are_sent_again_from_1_until_they_are_acknowledged(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK")
    worker.go[1].release(3)
    numbers = [first.expect("checkpoint").checkpoint.number for _ in range(3)]
    durable = first.reports[1].sequence
    first.acknowledge(durable)
    kept = [r for r in first.reports if r.sequence > durable and not r.HasField("progress")]
    first.fail(grpc.StatusCode.UNAVAILABLE, "stopping")

    second = server.session()
    assert not second.reports
    second.welcome()
    again = [second.expect("checkpoint").checkpoint.number for _ in range(len(kept))]

    assert numbers == [1, 2, 3]
    assert again == [report.checkpoint.number for report in kept]
    assert [report.sequence for report in second.reports] == list(range(1, len(second.reports) + 1))


def test_nothing_is_sent_before_the_welcome(unit: Unit, worker: Worker, server: ScriptedServer, run: Run) -> None:
    run(unit)
    connected = server.session()
    connected.start(1, 1, "WORK")
    worker.go[1].release()
    connected.drop(2, 1, DropReason.DROP_REASON_FINISHED)
    connected.welcome(heartbeat_seconds=0.01)

    connected.expect("checkpoint")
    assert connected.heartbeats == 0


def test_what_was_acknowledged_is_not_sent_again(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK", {"rows": 1})
    worker.go[1].release()
    first.expect("succeeded")
    first.acknowledge()
    first.start(2, 1, "OTHER")
    first.expect("rejected")
    first.fail(grpc.StatusCode.UNAVAILABLE, "stopping")

    second = server.session()
    second.welcome()
    second.expect("rejected")

    assert not second.hello.inventory
    assert [report.task_id for report in second.reports] == [2]


def test_the_inventory_tells_what_is_held(unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK", {"rows": 1}, checkpoint={"row": 0}, last_checkpoint_number=6)
    worker.go[1].release()
    first.expect("succeeded")
    first.start(2, 4, "WORK")
    first.pause(2, 4, command_id="pause")
    first.expect("accepted", command_id="pause")
    worker.go[2].release()
    first.expect("paused")
    first.start(3, 1, "WORK", checkpoint={"row": 0}, last_checkpoint_number=9)
    first.expect("accepted", task_id=3)
    server.go_away()
    server.listen()

    assert [*server.session().hello.inventory] == [
        HeldAttempt(task_id=1, attempt=1, state=ENDED, checkpoint_number=7),
        HeldAttempt(task_id=2, attempt=4, state=PAUSED, checkpoint_number=1),
        HeldAttempt(task_id=3, attempt=1, state=RUNNING, checkpoint_number=9),
    ]


def test_work_goes_on_while_the_server_is_away(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK", {"rows": 3})
    first.expect("accepted")
    server.go_away()
    worker.go[1].release(3)
    server.listen()
    second = server.session()
    second.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_KEEP)])

    second.expect("succeeded")


def test_a_dropped_attempt_is_stopped_and_its_reports_are_not_sent(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK")
    first.start(2, 1, "WORK")
    worker.go[1].release()
    worker.go[2].release()
    first.expect("checkpoint", task_id=1)
    first.expect("checkpoint", task_id=2)
    first.fail(grpc.StatusCode.UNAVAILABLE, "stopping")
    second = server.session()
    second.welcome(
        verdicts=[
            Verdict(
                task_id=1,
                attempt=1,
                action=VerdictAction.VERDICT_ACTION_DROP,
                drop_reason=DropReason.DROP_REASON_SUPERSEDED,
            )
        ]
    )
    second.expect("checkpoint", task_id=2)
    worker.go[1].release()
    assert worker.has_ended.wait(20)

    assert worker.ended_by == [TaskDropped]
    assert second.kinds(1) == []


def test_a_verdict_of_pause_is_a_pause_without_a_command(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK")
    first.expect("accepted")
    first.acknowledge()
    first.fail(grpc.StatusCode.UNAVAILABLE, "stopping")
    second = server.session()
    second.welcome(verdicts=[Verdict(task_id=1, attempt=1, action=VerdictAction.VERDICT_ACTION_PAUSE)])
    second.start(2, 1, "OTHER")  # the response shows an applied verdict
    second.expect("rejected")
    worker.go[1].release()

    second.expect("paused")


def test_a_paused_attempt_that_is_dropped_as_cancelled_cleans_up(
    unit: Unit, worker: Worker, connect: Connect, server: ScriptedServer
) -> None:
    first = connect(unit)
    first.start(1, 1, "WORK")
    first.pause(1, 1, command_id="pause")
    first.expect("accepted", command_id="pause")
    worker.go[1].release()
    first.expect("paused")
    first.drop(1, 1, DropReason.DROP_REASON_CANCELLED)
    assert worker.has_ended.wait(20)

    assert worker.ended_by == [TaskCancelled]
    assert first.kinds(1).count("cancelled") == 0
