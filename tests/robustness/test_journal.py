"""The journal returns every complete record, and no torn ones."""

from pathlib import Path

from robustness.journal import Journal, Reader
from robustness.records import Begun, Call, Seen

CALL = Call("client-1", "create", 0, 1.0, 2.0, "OK", seen=(Seen(1, "PENDING", 1, 0),), names=("a",))


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    begun = Begun("a", "unit-1", 1, 1, 1.0, None)
    journal = Journal(tmp_path / "one.jsonl")
    journal.write(CALL)
    journal.write(begun)
    journal.close()
    assert Reader(tmp_path).all(Call) == [CALL]
    assert Reader(tmp_path).all(Begun) == [begun]


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "one.jsonl")
    journal.write(CALL)
    journal.close()
    with (tmp_path / "one.jsonl").open("a") as file:
        file.write('{"kind":"Call","cli')
    assert Reader(tmp_path).all(Call) == [CALL]
