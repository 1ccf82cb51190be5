"""The HTTP server of a unit distinguishes a broken connection from an internal fault."""

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from taskplane.unit.http.api import UnitHttpServer

CALLER = ("127.0.0.1", 50000)


@pytest.fixture
def listener() -> Iterator[UnitHttpServer]:
    with UnitHttpServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listener:
        yield listener


def fail(listener: UnitHttpServer, error: Exception) -> None:
    try:
        raise error
    except type(error):
        listener.handle_error(None, CALLER)


def test_a_caller_that_goes_before_it_is_answered_is_no_error(
    listener: UnitHttpServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, "taskplane.unit"):
        fail(listener, BrokenPipeError("gone"))
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert capfd.readouterr().err == ""


def test_any_other_error_of_a_request_is_logged_with_its_traceback(
    listener: UnitHttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    fail(listener, ValueError("odd"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ValueError: odd" in caplog.text
