"""The times at which an HTTP unit is polled for its attempts."""

import pytest

from taskplane.server.execution_units.links.http_polling import FIRST_POLL_SECONDS, PollSchedule

KEY, OTHER = (1, 1), (2, 1)


@pytest.fixture
def schedule() -> PollSchedule:
    schedule = PollSchedule(interval=5)
    schedule.keep([KEY], now=100)
    return schedule


def test_an_attempt_is_asked_about_once_an_interval(schedule: PollSchedule) -> None:
    assert schedule.take_due(104.9) == []
    assert schedule.take_due(105) == [KEY]
    assert schedule.take_due(105) == []
    assert schedule.take_due(110) == [KEY]


def test_one_that_calls_back_is_left_alone(schedule: PollSchedule) -> None:
    schedule.note_callback(KEY, now=104)
    assert schedule.take_due(108.9) == []
    assert schedule.take_due(109) == [KEY]


def test_an_awaited_effect_is_looked_for_at_growing_distances(schedule: PollSchedule) -> None:
    schedule.poll_soon(KEY, now=100)
    times: list[float] = []
    now = 100.0
    while len(times) < 7:
        now += schedule.seconds_left(now)
        assert schedule.take_due(now) == [KEY]
        times.append(now - 100)
    assert times == pytest.approx([0.25, 0.75, 1.75, 3.75, 7.75, 12.75, 17.75])
    assert times[0] == FIRST_POLL_SECONDS


def test_what_is_not_held_any_more_is_forgotten(schedule: PollSchedule) -> None:
    schedule.keep([OTHER], now=103)
    assert schedule.take_due(105) == []
    assert schedule.take_due(108) == [OTHER]


def test_what_is_kept_keeps_its_time(schedule: PollSchedule) -> None:
    schedule.keep([KEY, OTHER], now=104)
    assert schedule.take_due(105) == [KEY]


def test_those_that_have_waited_longest_come_first(schedule: PollSchedule) -> None:
    schedule.keep([KEY, OTHER], now=101)
    schedule.poll_soon(OTHER, now=101)
    assert schedule.take_due(200) == [OTHER, KEY]


def test_without_attempts_it_waits_for_an_interval() -> None:
    assert PollSchedule(interval=5).seconds_left(100) == 5
