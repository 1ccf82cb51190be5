from pathlib import Path

import pytest
from cli.conftest import CommandLine
from cli.scripted_server import Script

from taskplane.client import to_dict

CREATE = ("task", "create", "--type", "DATA", "--name", "users")


def test_it_tells_the_new_tasks_id(cli: CommandLine) -> None:
    assert cli.output(*CREATE) == "task 1 users: created, PENDING\n"


def test_as_json_it_is_the_task(cli: CommandLine) -> None:
    document = cli.document(*CREATE, "--config", '{"batchSize": 100}')
    assert document["id"] == 1
    assert document["status"] == "PENDING"
    assert document["taskName"] == "users"
    assert document["config"] == {"batchSize": 100}


def test_everything_given_is_sent(cli: CommandLine, script: Script) -> None:
    cli.output(
        *CREATE,
        *("--priority", "7", "--max-retries", "0", "--start"),
        *("--label", "team=a", "--label", "stage=x=y", "--unit-label", "zone=b"),
        *("--request-id", "r1", "--reason", "because", "--actor", "me"),
    )
    [request] = script.requests
    spec = request.task
    assert (spec.priority, spec.max_retries, spec.HasField("max_retries"), spec.start) == (7, 0, True, True)
    assert spec.labels == {"team": "a", "stage": "x=y"}
    assert spec.unit_labels == {"zone": "b"}
    context = request.context
    assert (context.request_id, context.reason, context.actor) == ("r1", "because", "me")


def test_options_left_out_are_left_to_the_server(cli: CommandLine, script: Script) -> None:
    cli.output(*CREATE)
    [request] = script.requests
    assert not request.task.start
    assert not request.task.HasField("max_retries")


def test_the_actor_is_the_user(cli: CommandLine, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    cli.output(*CREATE)
    assert script.requests[0].context.actor == "alice"


def test_a_user_without_a_name_is_left_to_the_server(
    cli: CommandLine, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", no_name)
    cli.output(*CREATE)
    assert script.requests[0].context.actor == ""


def test_the_config_may_come_from_a_file_or_stdin(cli: CommandLine, script: Script, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"name": "Jürgen"}', encoding="utf-8")
    cli.output(*CREATE, "--config-file", str(file))
    cli.output(*CREATE, "--config-file", "-", stdin='{"from": "stdin"}')
    configs = [to_dict(request.task.config) for request in script.requests]
    assert configs == [{"name": "Jürgen"}, {"from": "stdin"}]


def test_single_values_can_be_set(cli: CommandLine, script: Script) -> None:
    cli.output(
        *CREATE,
        *("--config", '{"sourceFile": "a.csv", "rules": {"email": true}}'),
        *("--set", "sourceFile=b=c.csv", "--set", "batchSize=100", "--set", "rules.phone=false"),
        *("--set", "new.list=[1, 2]", "--set", "text=17a", "--set", "empty="),
    )
    assert to_dict(script.requests[0].task.config) == {
        "sourceFile": "b=c.csv",
        "batchSize": 100,
        "rules": {"email": True, "phone": False},
        "new": {"list": [1, 2]},
        "text": "17a",
        "empty": "",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--config", "{"), "--config is not JSON"),
        (("--config", "[1]"), "--config is not a JSON object"),
        (("--config", "{}", "--config-file", "-"), "not both"),
        (("--config-file", "/no/such/file"), "/no/such/file"),
        (("--set", "key"), "--set wants key=value"),
        (("--label", "=value"), "--label wants key=value"),
        (("--config", '{"a": 1}', "--set", "a.b=2"), "a is not an object"),
        (("--config", '{"a": [NaN]}'), "config.a[0]: nan is not a JSON number"),
        (("--set", "id=9007199254740993"), "config.id: 9007199254740993 is beyond"),
    ],
)
def test_a_bad_value_is_a_usage_error(
    cli: CommandLine, script: Script, arguments: tuple[str, ...], complaint: str
) -> None:
    result = cli.run(*CREATE, *arguments)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.replace("│", " ").split())
    assert script.requests == []
