"""The output of an uninterrupted task."""

import json
from pathlib import Path
from typing import Any

import pytest
from built_in_units.data_processing.driver import ScriptedTask, parts_in, run


def rejected(path: Path) -> list[tuple[int, str]]:
    return [(line["row"], line["reason"]) for line in map(json.loads, path.read_text().splitlines())]


def test_good_rows_become_json_and_bad_ones_are_set_aside(config: dict[str, Any], target: Path, rejects: Path) -> None:
    result = run(ScriptedTask(), config)
    assert target.read_text() == (
        "[\n"
        ' {"id": "1", "name": "Ada", "email": "ada@example.org", "phone": "+49 30 901820"},\n'
        ' {"id": "2", "name": "Grace, the\\nfirst", "email": "grace@example.org", "phone": "+1 212 555 0100"},\n'
        ' {"id": "4", "name": "王", "email": "wang@example.org", "phone": "+86 138 1234 5678"},\n'
        ' {"id": "7", "name": "Alan", "email": "alan@example.org", "phone": "+44 20 7946 0000"}\n'
        "]\n"
    )
    assert rejected(rejects) == [
        (3, "email: An email address must have an @-sign."),
        (5, "has 2 fields, the header has 4"),
        (6, "phone: does not begin with + and a known country code"),
    ]
    assert json.loads(rejects.read_text().splitlines()[1])["values"] == ["5", "Short"]
    assert result == {
        "rows": 7,
        "written": 4,
        "rejected": 3,
        "bytesRead": Path(config["inputPath"]).stat().st_size,
        "outputPath": str(target),
        "format": "json",
        "rejectsPath": str(rejects),
    }
    assert parts_in(target.parent) == []


def test_jsonl_has_a_line_for_each_row(config: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "users.jsonl"
    run(ScriptedTask(), config | {"outputPath": str(target)})
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["1", "2", "4", "7"]
    assert target.read_text().endswith("}\n")


@pytest.mark.parametrize(("name", "content"), [("users.json", "[]\n"), ("users.jsonl", "")])
def test_a_header_alone_gives_an_empty_output(
    config: dict[str, Any], source: Path, tmp_path: Path, name: str, content: str
) -> None:
    source.write_text("email,phone\n")
    result = run(ScriptedTask(), config | {"outputPath": str(tmp_path / name)})
    assert (tmp_path / name).read_text() == content
    assert (result["rows"], result["rejectsPath"]) == (0, None)


def test_values_are_strings_and_names_may_be_anything(config: dict[str, Any], source: Path, target: Path) -> None:
    source.write_text('100%,"a ""quoted"" name",\n007,%s,true\n')
    run(ScriptedTask(), config | {"validationRules": []})
    assert json.loads(target.read_text()) == [{"100%": "007", 'a "quoted" name': "%s", "": "true"}]


def test_without_rejects_there_is_no_file_of_them_not_even_an_old_one(
    config: dict[str, Any], source: Path, rejects: Path
) -> None:
    rejects.write_text("of an earlier run")
    source.write_text("email,phone\nada@example.org,+49 30 901820\n")
    assert run(ScriptedTask(), config)["rejectsPath"] is None
    assert not rejects.exists()


def test_rejects_go_where_the_config_says(config: dict[str, Any], tmp_path: Path, rejects: Path) -> None:
    result = run(ScriptedTask(), config | {"rejectsPath": str(tmp_path / "bad.jsonl")})
    assert [row for row, _ in rejected(tmp_path / "bad.jsonl")] == [3, 5, 6]
    assert result["rejectsPath"] == str(tmp_path / "bad.jsonl")
    assert not rejects.exists()


def test_an_older_output_is_replaced(config: dict[str, Any], target: Path) -> None:
    target.write_text("of an earlier run")
    run(ScriptedTask(), config)
    assert len(json.loads(target.read_text())) == 4


def test_a_rule_finds_its_column_in_any_case_and_all_faults_are_told(
    config: dict[str, Any], source: Path, rejects: Path
) -> None:
    source.write_text("EMail, Phone ,email\nnobody,+1,\n")
    run(ScriptedTask(), config)
    ((row, reason),) = rejected(rejects)
    assert row == 1
    assert reason == ("EMail: An email address must have an @-sign.; email: is empty;  Phone : is not a phone number")


def test_other_input_formats(config: dict[str, Any], source: Path, target: Path) -> None:
    source.write_bytes("name;phone\nZoë;030 901820\n".encode("latin-1"))
    more = {"delimiter": ";", "encoding": "latin-1", "validationRules": ["phone"], "phoneRegion": "DE"}
    run(ScriptedTask(), config | more)
    assert json.loads(target.read_text()) == [{"name": "Zoë", "phone": "030 901820"}]


def test_progress_is_told_after_each_batch_and_a_checkpoint_at_each_interval(config: dict[str, Any]) -> None:
    task = ScriptedTask()
    run(task, config | {"batchSize": 3, "checkpointInterval": 4})
    assert [report["message"] for report in task.reports] == [
        "3 rows, 2 written, 1 rejected",
        "4 rows, 3 written, 1 rejected",
        "7 rows, 4 written, 3 rejected",
    ]
    assert [bool(report["checkpoint"]) for report in task.reports] == [False, True, False]
    progress = [report["progress"] for report in task.reports]
    assert progress == sorted(progress)
    assert progress[0] > 0
    assert progress[-1] == 1


def test_a_checkpoint_tells_where_it_is(config: dict[str, Any], source: Path) -> None:
    task = ScriptedTask()
    run(task, config)
    (checkpoint,) = [report["checkpoint"] for report in task.reports if report["checkpoint"]]
    assert source.read_bytes()[checkpoint["offset"] :].startswith(b"5,Short\n")
    assert (checkpoint["row"], checkpoint["written"], checkpoint["rejected"]) == (4, 3, 1)
    assert checkpoint["input"]["size"] == source.stat().st_size


def test_a_folder_gets_a_file_that_is_called_as_the_input(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    result = run(ScriptedTask(), config | {"outputPath": str(folder)})
    target = folder / f"{Path(config['inputPath']).stem}.json"
    assert (result["outputPath"], result["format"]) == (str(target), "json")
    assert len(json.loads(target.read_bytes())) == result["written"] > 0


def test_a_name_without_an_ending_gets_one_array(config: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "output"
    for _ in range(2):  # the second replaces it
        result = run(ScriptedTask(), config | {"outputPath": str(target)})
        assert (result["outputPath"], result["format"]) == (str(target), "json")
        assert len(json.loads(target.read_bytes())) == result["written"] > 0
