"""Every mutant can be made: its text occurs in the source exactly once, and the mutated file is Python."""

import ast
from collections import Counter

import pytest
from robustness import validate
from robustness.mutants import MUTANTS, Edit, Mutant
from robustness.mutate import PROJECT, StaleMutant, mutated

# Conditions of a run in addition to the invariants.
WAITS = {"units let go of all attempts", "units loaded with what runs there alone"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    texts = {edit.file: (PROJECT / edit.file).read_text() for edit in mutant.edits}
    for edit in mutant.edits:
        texts[edit.file] = mutated(texts[edit.file], edit)
    for file, text in texts.items():
        assert text != (PROJECT / file).read_text()
        ast.parse(text, file)


def test_a_text_that_is_not_there_once_is_an_error() -> None:
    with pytest.raises(StaleMutant):
        mutated("pass\npass\n", Edit("file.py", "pass", "return"))
    with pytest.raises(StaleMutant):
        mutated("pass\n", Edit("file.py", "return", "pass"))


def test_mutants_name_the_invariants_that_they_break() -> None:
    known = {check.__name__ for check in validate.CHECKS} | WAITS
    assert {name for mutant in MUTANTS for name in mutant.breaks} <= known


def test_names_of_mutants_are_unique() -> None:
    assert set(Counter(mutant.name for mutant in MUTANTS).values()) == {1}
