"""The pages of the documentation site that are made from the code leave nothing out."""

import re
from pathlib import Path

import pytest
from site_pages import commands, protos, rest, settings

from taskplane.server.config import ServerConfig

PROTOS = Path(__file__).parents[2] / "protos/taskplane/v1"

SOURCE = """
// Runs jobs.
//
//  1. First
//     step.
service Jobs {
  // Starts a job.
  rpc Start(stream Job) returns (Answer);
}

// A job.
message Job {
  reserved 2;

  // Its marks.
  map<string, Mark> marks = 1;
  // The kind.
  oneof kind {
    // A mark.
    Mark mark = 3;
  }
  // Its number.
  optional int32 number = 4;
}

// An answer.
message Answer {}

// A mark.
enum Mark {
  // Never sent.
  MARK_UNSPECIFIED = 0;
}
"""


def test_components_are_read_with_their_comments() -> None:
    service, job, answer, mark = protos.parse(SOURCE)
    assert (service.kind, service.name, service.rows[0].name) == ("service", "Jobs", "Start")
    assert service.rows[0].type == "stream Job → Answer"
    assert [(row.name, row.type, row.number, row.oneof) for row in job.rows] == [
        ("marks", "map<string, Mark>", "1", ""),
        ("mark", "Mark", "3", "kind"),
        ("number", "optional int32", "4", ""),
    ]
    assert job.rows[2].comment == [" Its number."]
    assert (answer.rows, mark.rows[0].name) == ([], "MARK_UNSPECIFIED")


@pytest.mark.parametrize("name", protos.FILES)
def test_every_component_of_the_protos_is_on_the_page_and_has_a_comment(name: str) -> None:
    source = (PROTOS / name).read_text()
    blocks = protos.parse(source)
    assert [block.name for block in blocks] == re.findall(r"^(?:service|message|enum) (\w+)", source, re.MULTILINE)
    rows = [row for block in blocks for row in block.rows]
    declared = re.findall(r"^  +(?:rpc (\w+)|(?!option |reserved )[\w<>., ]* ?\b(\w+) = \d+;)", source, re.MULTILINE)
    assert [row.name for row in rows] == [method or other for method, other in declared]
    assert all(block.comment for block in blocks)
    assert all(row.comment for row in rows)
    page = protos.page(PROTOS)
    assert all(f"### {block.name} " in page for block in blocks)
    assert all(f"`{row.name}`" in page or f"#### {row.name} " in page for row in rows)


def test_every_proto_file_is_on_the_page() -> None:
    assert set(protos.FILES) == {path.name for path in PROTOS.glob("*.proto")}


def test_every_setting_has_a_row_with_its_default_and_meaning() -> None:
    rows = dict(line.strip("| ").split(" | ", 1) for line in settings.table().splitlines()[2:])
    assert rows.keys() == {f"`{settings.variable(name)}`" for name in ServerConfig.model_fields}
    assert all(rest.rpartition("|")[2].strip() for rest in rows.values())
    assert rows["`TASKPLANE_LEASE_SECONDS`"].startswith("`30.0` | > 0, ≤ 86400 | Seconds of silence")
    assert rows["`TASKPLANE_LOG_FORMAT`"].startswith("`console` | console, json |")


def test_every_command_has_its_options() -> None:
    text = commands.sections()
    pause = text.partition("### taskplane task pause\n")[2].partition("###")[0]
    assert "| `ID...` |" in pause
    assert "| `--reason` |" in pause
    assert "### taskplane serve" in text


def test_every_operation_has_its_fields_and_responses() -> None:
    text = rest.operations()
    create = text.partition("### POST /api/tasks\n")[2].partition("###")[0]
    assert "| `taskName` (required) | body | string |" in create
    assert "Responses: 201," in create
    assert "### GET /api/tasks/{taskId}/history" in text
