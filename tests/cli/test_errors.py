import grpc
import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script

from taskplane.cli.errors import BY_ERROR, ExitCode
from taskplane.v1.task_pb2 import Task

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (Code.INTERNAL, "INTERNAL", 1),
        (Code.RESOURCE_EXHAUSTED, "OVERLOADED", 1),
        (Code.INVALID_ARGUMENT, "INVALID_FIELDS", 2),
        (Code.NOT_FOUND, "TASK_NOT_FOUND", 3),
        (Code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION", 4),
        (Code.FAILED_PRECONDITION, "UNIT_CANNOT_PAUSE", 4),
        (Code.ABORTED, "STALE_REVISION", 4),
        (Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", 5),
        (Code.DEADLINE_EXCEEDED, "COMMAND_PENDING", 6),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    cli: CommandLine, script: Script, code: grpc.StatusCode, reason: str, exit_code: int
) -> None:
    script.failures[7] = (code, reason)
    result = cli.run("task", "get", "7")
    assert result.exit_code == exit_code
    assert result.stderr == f"error: as the script says ({reason})\n"
    assert result.stdout == ""


def test_bad_fields_follow_the_error(cli: CommandLine, script: Script) -> None:
    script.bad_fields = {"task.task_name": "is too long", "task.task_type": "has\nspaces"}
    result = cli.run("task", "create", "--type", "T", "--name", "n")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: bad task (INVALID_FIELDS)",
        "  task.task_name: is too long",
        "  task.task_type: has spaces",
    ]


def test_an_absent_server_is_exit_code_5(cli: CommandLine) -> None:
    result = cli.run("--server", "127.0.0.1:1", "task", "list")
    assert result.exit_code == 5
    assert result.stderr.startswith("error: cannot reach the server (see --server): ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("task", "get", "seven"),
        ("task", "get", "0"),
        ("task", "get", str(2**63)),
        ("task", "get"),
        ("task", "pause"),
        ("task", "list", "--status", "DONE"),
        ("task", "list", "--limit", "0"),
        ("task", "create", "--type", "T"),
        ("task", "list", "-o", "yaml"),
        ("no-such-command",),
    ],
)
def test_a_bad_command_line_is_exit_code_2(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    result = cli.run(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.output


def test_of_several_tasks_each_is_handled_and_the_worst_exit_code_counts(cli: CommandLine, script: Script) -> None:
    script.add(Task(id=1, task_name="a"), Task(id=3, task_name="c"))
    script.failures[2] = (Code.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")
    result = cli.run("task", "pause", "1", "2", "99", "3")
    assert result.exit_code == 4
    assert result.stdout.splitlines() == ["task 1 a: PAUSED", "task 3 c: PAUSED"]
    assert result.stderr.splitlines() == [
        "error: task 2: as the script says (ILLEGAL_TRANSITION)",
        "error: task 99: there is no task 99 (TASK_NOT_FOUND)",
    ]


def test_ctrl_c_is_130_without_a_traceback(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taskplane.client.Client.get_task", interrupt)
    result = cli.run("task", "get", "7")
    assert result.exit_code == 130
    assert result.output == ""


def test_every_exit_code_has_an_error_or_is_said_elsewhere() -> None:
    assert set(BY_ERROR.values()) == set(ExitCode) - {ExitCode.OK, ExitCode.FAILED}
