"""The figures on a sheet and as a document."""

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.v1.operations_service_pb2 import GetStatisticsResponse, StatusCount
from taskplane.v1.task_pb2 import TASK_STATUS_PENDING, TASK_STATUS_RUNNING

FIGURES = GetStatisticsResponse(
    taken_at=Timestamp(seconds=1_700_000_000),
    tasks=[StatusCount(status=TASK_STATUS_PENDING, count=12), StatusCount(status=TASK_STATUS_RUNNING)],
    queued=7,
    oldest_queued=Duration(seconds=185),
    success_rate=0.875,
    mean_active_time=Duration(seconds=42),
    finished_per_second=0.25,
    failures=3,
    units_connected=2,
    slots=8,
    slots_used=5,
)


def lines(sheet: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.rpartition("  ") for line in sheet.splitlines())}


def test_the_figures_are_on_a_sheet(cli: CommandLine, script: Script) -> None:
    script.statistics = FIGURES
    sheet = lines(cli.output("stats"))
    del sheet["Taken"]
    assert sheet == {
        "PENDING": "12",
        "RUNNING": "0",
        "Queued": "7",
        "Oldest queued": "3m05s",
        "Units connected": "2",
        "Slots used": "5 of 8",
        "Ended in 1h": "0.25 a second",
        "of them SUCCESS": "87.5%",
        "mean active time": "42s",
        "Failures in 1h": "3",
    }


def test_where_nothing_ended_there_is_no_rate_of_success(cli: CommandLine) -> None:
    sheet = lines(cli.output("stats"))
    assert sheet["Ended in 1h"] == "0 a second"
    assert not {"of them SUCCESS", "mean active time", "Oldest queued"} & set(sheet)


def test_the_figures_are_a_document(cli: CommandLine, script: Script) -> None:
    script.statistics = FIGURES
    document = cli.document("stats")
    assert document["tasks"] == [{"status": "PENDING", "count": 12}, {"status": "RUNNING", "count": 0}]
    assert (document["queued"], document["oldestQueued"], document["successRate"]) == (7, "185s", 0.875)


@pytest.mark.parametrize(
    ("window", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604_800), ("1d1s", 86_401)]
)
def test_the_window_and_the_type_are_sent(cli: CommandLine, script: Script, window: str, seconds: int) -> None:
    cli.output("stats", "--window", window, "--type", "CONVERT")
    [request] = script.requests
    assert (request.window.seconds, request.task_type) == (seconds, "CONVERT")


@pytest.mark.parametrize("window", ["", "5", "h", "1.5h", "1h 30m", "-1h", "1w", "1hour", "1h1h", "1m1h", "9999999d"])
def test_a_window_that_is_not_a_duration_is_refused(cli: CommandLine, script: Script, window: str) -> None:
    result = cli.run("stats", "--window", window)
    assert result.exit_code == 2
    assert script.requests == []
