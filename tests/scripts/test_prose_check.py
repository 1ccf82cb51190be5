"""The prose check measures the right texts, and holds its limits."""

import tomllib
from typing import Any

import prose_check
import pytest

WORDS = prose_check.Words(tomllib.loads(prose_check.WORDS_FILE.read_text()))

MODULE = '''"""Describe the module in one sentence."""
# The first line of a comment
# continues here.
LIMIT = 5  # Bytes of one message.


def function() -> None:  # noqa: D401
    """Return the value of `a. b`
    after the line. What nobody told is lost.

    Say more about the value.
    """
'''


def found(path: str, source: str) -> list[tuple[int, str]]:
    return [(each.line, each.text) for each in prose_check.sentences_of(path, source)]


def sentence(text: str) -> Any:
    return prose_check.Sentence("page.md", 1, text)


def test_docstrings_and_comments_are_read_with_their_lines() -> None:
    assert sorted(found("module.py", MODULE)) == [
        (1, "Describe the module in one sentence."),
        (2, "The first line of a comment continues here."),
        (4, "Bytes of one message."),
        (8, "Return the value of X after the line."),
        (9, "What nobody told is lost."),
        (11, "Say more about the value."),
    ]


def test_comments_of_protos_are_read_with_their_lines() -> None:
    source = "message A {\n  // The id of the task.\n  // Never changes later on.\n  int64 id = 1;\n}\n"
    assert found("a.proto", source) == [(2, "The id of the task."), (3, "Never changes later on.")]


def test_markdown_is_read_without_code_tables_and_headings() -> None:
    code = "```\nit is code\n```\n\n    it is too\n\n"
    source = f"# What it is\n\nA first paragraph\nwith `code. here` inside.\n\n{code}| it | is |\n\nThe last one.\n"
    assert found("page.md", source) == [(3, "A first paragraph with X inside."), (14, "The last one.")]


def test_short_sentences_are_not_counted() -> None:
    assert found("page.md", "Default: five.\n") == []


def test_figures_are_per_thousand_words_and_percent_of_sentences() -> None:
    words, figures = WORDS.figures(
        [sentence("What nobody knows, it never learns."), sentence("Each task has a number.")]
    )
    assert words == 11
    assert figures.referents == pytest.approx(2000 / 11)
    assert figures.set_phrases == pytest.approx(1000 / 11)
    assert figures.riddle_starts == 50


def test_the_worst_sentence_comes_first_with_the_plain_words() -> None:
    bad, worse = sentence("The unit is told in vain."), sentence("What is to be told, nobody knows any more.")
    lines = list(WORDS.worst([sentence("The unit runs."), bad, worse], 5))
    assert lines[0] == f"page.md:1: {worse.text}"
    assert "    is to be -> must be" in lines[1:6]
    assert f"page.md:1: {bad.text}" in lines[1:]
    assert not any("The unit runs." in line for line in lines)


def limits(referents: float, set_phrases: float, riddle_starts: float) -> Any:
    return prose_check.Figures(referents, set_phrases, riddle_starts)


@pytest.mark.parametrize(
    ("old", "now", "expected"),
    [
        (limits(100, 10, 9), limits(90.2, 8.13, 7.01), limits(91, 8.2, 7.1)),  # rounded up
        (limits(90, 8, 7), limits(95, 9, 8), limits(90, 8, 7)),  # never raised
        (limits(90, 8, 7), limits(40, 0.3, 1), limits(60, 2, 4)),  # the target is the floor
    ],
)
def test_ceilings_only_go_down_to_the_target(old: Any, now: Any, expected: Any) -> None:
    assert prose_check.lowered(old, now, limits(60, 2, 4)) == expected


def test_written_ceilings_are_read_back() -> None:
    text = prose_check.written({"server": limits(112, 11.5, 4)})
    assert {part: prose_check.Figures(**each) for part, each in tomllib.loads(text).items()} == {
        "server": limits(112, 11.5, 4)
    }


def test_a_part_above_its_ceiling_fails_and_names_its_worst_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"docs": [sentence("What is told is told to nobody.")], "server": [sentence("Each task has a number.")]}
    assert not prose_check.check(WORDS, {"docs": WORDS.target, "server": WORDS.target}, parts, 5)
    printed = capsys.readouterr().out
    assert "docs is above its limits" in printed
    assert "page.md:1: What is told is told to nobody." in printed
    assert "server is above" not in printed


def test_every_part_has_files_and_a_ceiling() -> None:
    parts = prose_check.sentences_by_part(WORDS)
    assert all(parts.values())
    assert parts.keys() == tomllib.loads(prose_check.LIMITS_FILE.read_text()).keys()


def test_generated_code_is_not_measured() -> None:
    files = prose_check.tracked_files(WORDS)
    assert "protos/taskplane/v1/task.proto" in files
    assert not any("_pb2" in path for path in files)
