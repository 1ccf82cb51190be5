"""Failures: named field and path, no file left behind, no retry."""

import errno
import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from built_in_units.data_processing.driver import ScriptedTask, parts_in, run
from typing_extensions import Buffer

from taskplane.unit import TaskFailed
from taskplane.units.data_processing import DataProcessingConfig
from taskplane.units.data_processing.output_files import OutputFiles
from taskplane.units.data_processing.part_file import PartFile


def failure_of(config: dict[str, Any], *, retryable: bool = False) -> str:
    with pytest.raises(TaskFailed) as failure:
        run(ScriptedTask(), config)
    assert failure.value.retryable is retryable
    return str(failure.value)


def test_a_missing_input(config: dict[str, Any], source: Path) -> None:
    source.unlink()
    assert failure_of(config) == f"inputPath: {source}: No such file or directory"


def test_a_folder_as_input(config: dict[str, Any], tmp_path: Path) -> None:
    assert failure_of(config | {"inputPath": str(tmp_path)}) == f"inputPath: {tmp_path}: is a directory"


def test_a_pipe_as_input(config: dict[str, Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert failure_of(config | {"inputPath": str(tmp_path / "pipe")}) == (
        f"inputPath: {tmp_path / 'pipe'}: is not a regular file"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no header: the file is empty"),
        (b"\x1f\x8b\x08\x00", "is not text: byte 3 is NUL"),
        (b"email,phone\n\xff\n", "is not utf-8: byte 12 cannot be decoded (invalid start byte)"),
        (b"email,phone,email\n", "has two columns of the name 'email' in its header"),
        (b"email,phone\n1,2\n3,4\n5," + b"6" * 200_000, "row 3, which begins at byte 20: field larger than"),
    ],
)
def test_an_input_that_is_no_csv(config: dict[str, Any], source: Path, content: bytes, problem: str) -> None:
    source.write_bytes(content)
    assert failure_of(config).startswith(f"inputPath: {source}: {problem}")
    assert parts_in(source.parent) == []


def test_a_rule_without_a_column(config: dict[str, Any], source: Path) -> None:
    source.write_text("id,email\n")
    assert failure_of(config) == ("validationRules[1]: there is no column for the rule 'phone'; columns are: id, email")


@pytest.mark.parametrize("field", ["outputPath", "rejectsPath"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: None, "its folder does not exist"),
        (lambda path: path.parent.touch(), "its folder does not exist"),
        (lambda path: path.mkdir(parents=True), "is a directory"),
    ],
)
def test_a_target_that_cannot_be(
    config: dict[str, Any], tmp_path: Path, field: str, spoil: Callable[[Path], None], problem: str
) -> None:
    path = tmp_path / "folder" / "users.jsonl"
    spoil(path)
    assert failure_of(config | {field: str(path)}) == f"{field}: {path}: {problem}"
    assert parts_in(tmp_path) == []


@pytest.mark.parametrize("field", ["outputPath", "rejectsPath"])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_target_that_is_the_input_by_another_name(
    config: dict[str, Any], source: Path, tmp_path: Path, field: str, link: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "other.json"
    link(source, path)
    before = source.read_bytes()
    assert failure_of(config | {field: str(path)}) == f"{field}: {path}: is the input file"
    assert source.read_bytes() == before


def test_a_target_in_a_folder_that_takes_no_files(config: dict[str, Any]) -> None:
    # A folder where even root cannot write.
    path = Path("/proc/self/users.json")
    assert failure_of(config | {"outputPath": str(path)}).startswith(f"outputPath: {path}: ")


def test_a_name_that_is_too_long(config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 255}.json"
    assert failure_of(config | {"outputPath": str(path)}) == f"outputPath: {path}: File name too long"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_may_do_better_later(
    config: dict[str, Any], tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert failure_of(config, retryable=True) == f"outputPath: {target}: {os.strerror(code)}"
    assert len(parts_in(tmp_path)) == 2


def test_a_full_disk_is_worth_another_try_even_at_the_start(
    config: dict[str, Any], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path, _mode: str, **_how: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    output = OutputFiles(DataProcessingConfig.model_validate(config), 17)
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(TaskFailed, match=f"outputPath: {target}: No space") as failure:
        output.open()
    assert failure.value.retryable


class Stingy(FileIO):
    """A file for one byte at a time, as on a full disk or a network."""

    def write(self, data: Buffer, /) -> int:
        return super().write(memoryview(data)[:1]) or 0


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = PartFile("outputPath", tmp_path / "users.json", 17)
    with Stingy(tmp_path / ".users.json.17.part", "a") as file:
        monkeypatch.setattr(part, "_opened", file)
        part.append(b"all of it")
    assert (tmp_path / ".users.json.17.part").read_bytes() == b"all of it"
