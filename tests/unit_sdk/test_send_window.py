import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskplane.unit.report_queue import SendWindow
from taskplane.unit.reports import AttemptKey, key_of
from taskplane.v1.execution_unit_control_pb2 import (
    CheckpointReport,
    CommandAccepted,
    PausedReport,
    ProgressReport,
    Report,
)

# Reports. Small enough to fill the window of the state machine at times.
WINDOW = 4


def progress(fraction: float, task_id: int = 1) -> Report:
    return Report(task_id=task_id, attempt=1, progress=ProgressReport(fraction=fraction))


def checkpoint(number: int, task_id: int = 1) -> Report:
    return Report(task_id=task_id, attempt=1, checkpoint=CheckpointReport(number=number))


def sequences(reports: list[Report]) -> list[int]:
    return [report.sequence for report in reports]


@pytest.fixture
def window() -> SendWindow:
    return SendWindow()


def test_reports_are_numbered_from_1_as_they_are_taken(window: SendWindow) -> None:
    window.add(checkpoint(1))
    window.add(checkpoint(2))
    assert sequences(window.take()) == [1, 2]

    window.add(checkpoint(3))
    assert sequences(window.take()) == [3]


def test_an_acknowledgement_covers_all_before_it(window: SendWindow) -> None:
    for number in (1, 2, 3):
        window.add(checkpoint(number))
    window.take()

    assert sequences(window.acknowledge(2)) == [1, 2]
    assert len(window) == 1


def test_what_was_not_sent_cannot_be_acknowledged(window: SendWindow) -> None:
    window.add(checkpoint(1))

    assert window.acknowledge(1) == []


def test_a_new_session_gets_everything_again_renumbered_from_1(window: SendWindow) -> None:
    for number in (1, 2, 3):
        window.add(checkpoint(number))
    window.take()
    window.acknowledge(1)
    window.add(checkpoint(4))
    window.restart()

    taken = window.take()

    assert [(report.sequence, report.checkpoint.number) for report in taken] == [(1, 2), (2, 3), (3, 4)]


def test_progress_of_one_attempt_is_replaced_whether_it_was_sent_or_not(window: SendWindow) -> None:
    window.add(progress(0.1))
    window.take()
    window.add(progress(0.2))
    window.add(progress(0.3))
    window.add(progress(0.9, task_id=2))
    window.restart()

    assert [report.progress.fraction for report in window.take()] == [0.3, 0.9]


def test_a_message_is_filled_to_a_mebibyte_and_no_further(window: SendWindow) -> None:
    for number in (1, 2, 3):
        big = checkpoint(number)
        big.checkpoint.data["text"] = "x" * 400_000
        window.add(big)

    assert [sequences(window.take()), sequences(window.take())] == [[1, 2], [3]]


def test_a_report_that_is_larger_than_that_goes_alone(window: SendWindow) -> None:
    big = checkpoint(1)
    big.checkpoint.data["text"] = "x" * 2_000_000
    window.add(big)
    window.add(checkpoint(2))

    assert [sequences(window.take()), sequences(window.take())] == [[1], [2]]


def test_reports_of_an_attempt_can_be_forgotten(window: SendWindow) -> None:
    window.add(progress(0.5))
    window.take()
    window.add(checkpoint(1))
    window.add(checkpoint(1, task_id=2))

    window.discard(AttemptKey(1, 1))
    window.restart()

    assert [report.task_id for report in window.take()] == [2]


def test_no_more_than_the_window_is_sent_ahead_of_its_acknowledgement() -> None:
    window = SendWindow(size=3)
    for number in range(1, 6):
        window.add(checkpoint(number))

    assert sequences(window.take()) == [1, 2, 3]
    assert window.take() == []
    assert (window.has_unsent, window.can_send) == (True, False)
    window.acknowledge(1)
    assert [(report.sequence, report.checkpoint.number) for report in window.take()] == [(4, 4)]
    window.acknowledge(4)
    assert [(report.sequence, report.checkpoint.number) for report in window.take()] == [(5, 5)]


def test_what_was_sent_fills_the_window_also_if_it_is_replaced_or_forgotten() -> None:
    window = SendWindow(size=2)
    window.add(progress(0.1))
    window.add(progress(0.1, task_id=2))
    window.take()
    window.add(progress(0.2))
    window.discard(AttemptKey(2, 1))

    assert window.take() == []
    window.acknowledge(1)
    assert sequences(window.take()) == [3]


def test_a_new_session_begins_with_an_empty_window() -> None:
    window = SendWindow(size=2)
    for number in (1, 2, 3, 4):
        window.add(checkpoint(number))
    window.take()
    window.acknowledge(1)
    window.take()
    window.restart()

    assert [(report.sequence, report.checkpoint.number) for report in window.take()] == [(1, 2), (2, 3)]
    window.acknowledge(2)
    assert [(report.sequence, report.checkpoint.number) for report in window.take()] == [(3, 4)]


class SendWindowMachine(RuleBasedStateMachine):
    """A send window, compared with a plain list of the unacknowledged reports."""

    def __init__(self) -> None:
        super().__init__()
        self.window = SendWindow(size=WINDOW)
        self.kept: list[Report] = []
        self.sent: list[Report] = []
        self.last_sequence = self.acknowledged = 0

    @rule(
        task_id=st.integers(1, 3),
        kind=st.sampled_from(
            [{"accepted": CommandAccepted()}, {"checkpoint": CheckpointReport()}, {"paused": PausedReport()}]
        ),
    )
    def add(self, task_id: int, kind: dict[str, CommandAccepted | CheckpointReport | PausedReport]) -> None:
        report = Report(task_id=task_id, attempt=1, **kind)  # type: ignore[arg-type]  # one of the kinds
        self.window.add(report)
        self.kept.append(report)

    @rule(task_id=st.integers(1, 3), fraction=st.floats(0, 1))
    def add_progress(self, task_id: int, fraction: float) -> None:
        report = progress(fraction, task_id)
        self.kept = [old for old in self.kept if not (old.HasField("progress") and key_of(old) == key_of(report))]
        self.window.add(report)
        self.kept.append(report)

    @rule()
    def take(self) -> None:
        for report in self.window.take():
            self.last_sequence += 1
            assert report.sequence == self.last_sequence <= self.acknowledged + WINDOW
            self.sent.append(report)
        assert self.last_sequence == self.acknowledged + WINDOW or not self.window.has_unsent

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        sequence = data.draw(st.integers(0, self.last_sequence))
        gone = self.window.acknowledge(sequence)
        self.acknowledged = max(sequence, self.acknowledged)
        expected = [r for r in self.sent if r.sequence <= sequence and any(r is k for k in self.kept)]
        assert [id(r) for r in gone] == [id(r) for r in expected]
        self.kept = [k for k in self.kept if not any(k is r for r in gone)]

    @rule()
    def reconnect(self) -> None:
        self.window.restart()
        self.sent, self.last_sequence, self.acknowledged = [], 0, 0

    @invariant()
    def holds_what_is_not_acknowledged(self) -> None:
        assert len(self.window) == len(self.kept)
        assert self.window.has_unsent == any(not any(k is s for s in self.sent) for k in self.kept)
        assert self.window.can_send == (self.window.has_unsent and self.last_sequence < self.acknowledged + WINDOW)

    def teardown(self) -> None:
        self.window.restart()
        sent: list[Report] = []
        while taken := self.window.take():
            sent += taken
            self.window.acknowledge(taken[-1].sequence)
        assert [id(r) for r in sent] == [id(k) for k in self.kept]


TestSendWindowAgainstAModel = SendWindowMachine.TestCase
TestSendWindowAgainstAModel.settings = settings(max_examples=50, stateful_step_count=30)
