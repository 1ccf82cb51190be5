"""TaskService and a scripted unit, driven at random against the model: after each step both tell the same."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from model.reference import VERBS, Model, ModelTask, Refused
from model.side import Refusal, Side, Stage, shown
from rpc.raw_unit import checkpoint

from taskplane.server.core import reports
from taskplane.server.core.retry import RetryPolicy
from taskplane.server.execution_units import dispatch_loop
from taskplane.v1 import execution_unit_control_pb2 as control
from taskplane.v1 import task_service_pb2 as pb
from taskplane.v1.task_pb2 import Task

CAPACITY = 2
MAX_TASKS = 6

# The choice of a task: mostly one of the unit, sometimes any, also a deleted one.
picks = st.integers(0, 99)
SELDOM = 20
# The number of reports in a session, so that the unit also gets work done.
LEAST_REPORTS = 6
# The reporting attempt: mostly the current one, sometimes the one before.
ages = st.sampled_from([0, 0, 0, 1])


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Retry without a wait, like the model."""
    monkeypatch.setattr(RetryPolicy, "backoff", lambda self, retries: timedelta(0))
    monkeypatch.setattr(reports, "REJECTED_START_DELAY", timedelta(0))
    # Every dispatch must have a cause: one that waits for a periodic pass would fail the test.
    monkeypatch.setattr(dispatch_loop, "TICK_SECONDS", 3600)
    stage = Stage(f"sqlite:///{tmp_path / 'taskplane.db'}")
    yield stage
    stage.close()


class Comparison(RuleBasedStateMachine):
    """Does the same to both sides. Each rule ends with `agree`."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.side = Side(stage, CAPACITY)
        self.model = Model(CAPACITY)
        # The unit refuses the last of this many starts; below 2 for none.
        self.starts_until_refusal = 0
        # Reports in this session.
        self.reports = 0
        # Responses by request, for replays; and the ids of all tasks ever created.
        self.answers: list[tuple[str, Any, Task]] = []
        self.ids: list[int] = []

    @initialize(tasks=st.integers(1, 3))
    def begin(self, tasks: int) -> None:
        """Connect a unit and create work: without either there is little to compare."""
        self.connect(is_forgetful=True)
        for _ in range(tasks):
            self.create(priority=0, max_retries=1, start=True)

    # Clients.

    @precondition(lambda self: len(self.model.tasks) < MAX_TASKS)
    @rule(priority=st.integers(0, 2), max_retries=st.integers(0, 2), start=st.sampled_from([True, True, False]))
    def create(self, priority: int, max_retries: int, start: bool) -> None:  # noqa: FBT001  hypothesis names them
        spec = pb.TaskSpec(
            task_name="a task", task_type=self.side.name, priority=priority, max_retries=max_retries, start=start
        )
        task = self.stage.do(self.side.create(spec, uuid.uuid4().hex))
        self.model.create(task.id, priority, max_retries, start=start)
        self.ids.append(task.id)
        self.model.dispatch()
        assert shown(task) == self.model.tasks[task.id].shown
        self.agree()

    @precondition(lambda self: self.ids)
    @rule(verb=st.sampled_from([*VERBS]), pick=picks)
    def call(self, verb: str, pick: int) -> None:
        task = self.model.tasks.get(self.id_of(pick))
        request_class = getattr(pb, f"{verb}TaskRequest")
        context = pb.RequestContext(request_id=uuid.uuid4().hex)
        request = request_class(task_id=self.id_of(pick), context=context, no_wait=True)
        answer = self.call_both(verb, request, task)
        self.model.dispatch()
        if answer is not None:
            assert task is not None
            assert shown(answer) == task.shown
            self.answers.append((verb, request, answer))
        self.agree()

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        context = pb.RequestContext(request_id=uuid.uuid4().hex)
        request = pb.DeleteTaskRequest(task_id=self.id_of(pick), context=context)
        self.call_both("Delete", request, self.model.tasks.get(self.id_of(pick)))
        self.agree()

    @precondition(lambda self: self.model.tasks)
    @rule(verb=st.sampled_from([*VERBS]), pick=picks)
    def call_on_a_stale_revision(self, verb: str, pick: int) -> None:
        context = pb.RequestContext(expected_revision=1_000_000_000)
        task = self.id_of(pick)
        reason = "STALE_REVISION" if task in self.model.tasks else "TASK_NOT_FOUND"
        with pytest.raises(Refusal, match=rf"^{reason}$"):
            self.stage.do(self.side.call(verb, getattr(pb, f"{verb}TaskRequest")(task_id=task, context=context)))
        self.agree()

    @precondition(lambda self: self.answers)
    @rule(pick=st.integers(0, 1000))
    def replay(self, pick: int) -> None:
        verb, request, answer = self.answers[pick % len(self.answers)]
        again = self.stage.do(self.side.call(verb, request))
        assert again is not None
        assert (again.revision, shown(again)) == (answer.revision, shown(answer))
        other = type(request)(task_id=request.task_id + 1, context=request.context)
        with pytest.raises(Refusal, match=r"^REQUEST_ID_REUSED$"):
            self.stage.do(self.side.call(verb, other))
        self.agree()

    # The unit's connection.

    @precondition(lambda self: not self.model.is_connected)
    @rule(is_forgetful=st.booleans())
    def connect(self, is_forgetful: bool) -> None:  # noqa: FBT001  ditto
        if is_forgetful:
            self.side.inventory.clear()
        self.reports = 0
        expected = self.model.connected(dict(self.side.inventory))
        assert self.stage.do(self.side.connect()) == expected
        self.agree()

    @precondition(lambda self: self.model.is_connected and self.reports >= LEAST_REPORTS)
    @rule(says_goodbye=st.booleans())
    def disconnect(self, says_goodbye: bool) -> None:  # noqa: FBT001  ditto
        if says_goodbye:
            self.stage.do(self.side.leave())
            self.model.left()
        else:
            self.stage.do(self.side.break_off())
            self.model.disconnected()
        self.agree()

    @rule(starts=st.integers(2, 9))
    def refuse_a_start(self, starts: int) -> None:
        self.starts_until_refusal = starts

    # Reports of the unit: on its attempts, and on former ones.

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages, number=st.integers(1, 20))
    def report_checkpoint(self, pick: int, age: int, number: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, checkpoint=checkpoint(number))
            self.model.checkpointed(task, attempt, number)
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages, number=st.integers(1, 20))
    def report_paused(self, pick: int, age: int, number: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, paused=control.PausedReport(checkpoint=checkpoint(number)))
            self.model.paused(task, attempt, number)
            if self.side.inventory.get(task) == attempt:
                self.side.states[task] = control.ATTEMPT_STATE_PAUSED
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages)
    def report_succeeded(self, pick: int, age: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, succeeded=control.SucceededReport())
            self.model.succeeded(task, attempt)
            self.ended(task, attempt)
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages, retryable=st.booleans())
    def report_failed(self, pick: int, age: int, retryable: bool) -> None:  # noqa: FBT001  ditto
        for task, attempt in self.named(pick, age):
            failed = control.FailedReport(message="no", not_retryable=not retryable, retry_delay=Duration())
            self.report(task, attempt, failed=failed)
            self.model.failed(task, attempt, retryable=retryable)
            self.ended(task, attempt)
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages)
    def report_cancelled(self, pick: int, age: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, cancelled=control.CancelledReport())
            self.model.cancelled(task, attempt)
            self.ended(task, attempt)
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages, number=st.integers(1, 20))
    def report_released(self, pick: int, age: int, number: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, released=control.ReleasedReport(checkpoint=checkpoint(number)))
            self.model.released(task, attempt, number)
            self.ended(task, attempt)
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, age=ages)
    def report_progress(self, pick: int, age: int) -> None:
        for task, attempt in self.named(pick, age):
            self.report(task, attempt, progress=control.ProgressReport(fraction=0.5))
        self.agree()

    @precondition(lambda self: self.can_report())
    @rule(pick=picks, is_unknown=st.booleans())
    def reject_the_pending_command(self, pick: int, is_unknown: bool) -> None:  # noqa: FBT001  ditto
        task = self.model.tasks.get(self.id_of(pick))
        reason = control.REJECT_REASON_UNKNOWN_ATTEMPT if is_unknown else control.REJECT_REASON_OTHER
        if task is not None and task.pending and self.stage.do(self.side.reject(task.id, task.pending.lower(), reason)):
            self.model.command_rejected(task.id, task.attempt, is_unknown=is_unknown)
        self.agree()

    def teardown(self) -> None:
        for task in self.model.tasks.values():
            assert self.stage.do(self.side.history(task.id)) == task.history
        if self.model.is_connected:
            self.stage.do(self.side.leave())

    # Parts of the rules.

    def can_report(self) -> bool:
        """Return whether there is a unit and an attempt to report on."""
        return self.model.is_connected and bool(self.ids)

    def id_of(self, pick: int) -> int:
        """Choose the id of a task: mostly one of the unit, sometimes any of the last created."""
        at_work = [task.id for task in self.model.tasks.values() if task.status in ("RUNNING", "PAUSED")]
        return at_work[pick % len(at_work)] if at_work and pick > SELDOM else self.ids[-1 - pick % len(self.ids)]

    def named(self, pick: int, age: int) -> Iterator[tuple[int, int]]:
        """Choose a task and an attempt to report on; none if the task had fewer dispatches."""
        task = self.model.tasks.get(self.id_of(pick))
        attempt = task.attempt - age if task else 1
        if attempt > 0:
            yield self.id_of(pick), attempt

    def report(self, task: int, attempt: int, **kind: Any) -> None:
        self.reports += 1
        self.stage.do(self.side.report(task, attempt, **kind))

    def ended(self, task: int, attempt: int) -> None:
        if self.side.inventory.get(task) == attempt:
            self.side.forget(task)

    def call_both(self, verb: str, request: Any, task: ModelTask | None) -> Task | None:
        """Call a verb on both sides. Return the response, None if both refuse for the same reason or there is none."""
        refusal = self.refusal_of_the_model(verb, task)
        if refusal is None:
            return self.stage.do(self.side.call(verb, request))
        with pytest.raises(Refusal, match=rf"^{refusal}$"):
            self.stage.do(self.side.call(verb, request))
        return None

    def refusal_of_the_model(self, verb: str, task: ModelTask | None) -> str | None:
        if task is None:
            return "TASK_NOT_FOUND"
        act = Model.delete if verb == "Delete" else VERBS[verb]
        try:
            act(self.model, task)
        except Refused as refused:
            return str(refused)
        return None

    def is_to_be_refused(self) -> bool:
        self.starts_until_refusal = max(0, self.starts_until_refusal - 1)
        return self.starts_until_refusal == 1

    def agree(self) -> None:
        """Let the unit obey its commands, and compare all tasks."""
        self.model.dispatch()
        while self.model.orders:
            order = self.model.orders.pop(0)
            refuse = order.kind in ("start", "resume") and self.is_to_be_refused()
            self.stage.do(self.side.obey(order, refuse=refuse))
            if refuse:
                self.model.start_rejected(order.task, order.attempt)
                self.model.dispatch()
        found = self.stage.do(self.side.shown())
        assert found == {task.id: task.shown for task in self.model.tasks.values()}
        assert self.side.unexpected(found, self.model.held) == []
        self.stage.do(self.stage.slots_agree())


def test_the_server_does_what_the_model_does(stage: Stage) -> None:
    run_state_machine_as_test(
        lambda: Comparison(stage),  # type: ignore[arg-type]  # any callable that makes one serves
        settings=settings(max_examples=70, stateful_step_count=40, deadline=None, suppress_health_check=[*HealthCheck]),
    )
