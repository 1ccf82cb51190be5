import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*build, "--wheel-dir", str(folder)], cwd=PROJECT, check=True)  # noqa: S603  our own command
    (path,) = folder.glob("taskplane-*.whl")
    with zipfile.ZipFile(path) as wheel:
        yield wheel


@pytest.mark.parametrize(
    "file",
    [
        "taskplane/v1/task_pb2.py",
        "taskplane/v1/task_service_pb2_grpc.pyi",
        "taskplane/v1/task_service.proto",
        "taskplane/protocol/structs.py",
        "taskplane/server/store/schema.py",
        "taskplane/server/store/migrations/env.py",
        "taskplane/gateway/server.py",
        "taskplane/unit/__init__.py",
        "taskplane/units/data_processing/__init__.py",
        "taskplane/client/client.py",
        "taskplane/client/sync/tasks.py",
        "taskplane/cli/__main__.py",
    ],
)
def test_the_wheel_holds_every_source_root(wheel: zipfile.ZipFile, file: str) -> None:
    assert file in wheel.namelist()


def test_the_wheel_holds_each_migration(wheel: zipfile.ZipFile) -> None:
    migrations = [path.relative_to(PROJECT / "server").as_posix() for path in migration_files()]
    assert migrations
    assert set(migrations) <= set(wheel.namelist())


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"taskplane"}


def migration_files() -> list[Path]:
    return list((PROJECT / "server/taskplane/server/store/migrations/versions").glob("*.py"))


def test_the_wheel_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = wheel.read(metadata).decode().splitlines()
    assert "License-Expression: Apache-2.0" in lines
    folder = metadata.removesuffix("METADATA")
    licence = wheel.read(f"{folder}licenses/LICENSE").decode()
    assert "Apache License" in licence
    assert "Copyright 2026 the taskplane authors" in licence
