"""grpcurl, the stranger among clients: it knows the API by reflection alone."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

VERSION = "v1.9.3"
_MODULE = f"github.com/fullstorydev/grpcurl/cmd/grpcurl@{VERSION}"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskplane-grpcurl" / VERSION


def find_grpcurl() -> Path:
    """Return the grpcurl on the PATH, or build one once into the user's cache.

    Without grpcurl and go: skips on a laptop, fails in CI.
    """
    if on_path := shutil.which("grpcurl"):
        return Path(on_path)
    built = _CACHE / "grpcurl"
    if not built.exists():
        _build()
    return built


def _build() -> None:
    go = shutil.which("go") or _no_go()
    command = [go, "install", _MODULE]
    environment = os.environ | {"GOBIN": str(_CACHE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  (go itself)
    assert done.returncode == 0, done.stderr


def _no_go() -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail("neither grpcurl nor go is on the PATH: CI tries the API with grpcurl")
    pytest.skip("neither grpcurl nor go is on the PATH")


class Grpcurl:
    """Calls of one server, as typed by an operator."""

    def __init__(self, program: Path, address: str) -> None:
        self._program = program
        self._address = address

    def run(self, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """`grpcurl -plaintext OPTIONS ADDRESS ARGUMENTS`."""
        command: list[str | Path] = [self._program, "-plaintext", *options, self._address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  (grpcurl itself)

    def call(self, method: str, request: str = "{}") -> dict[str, Any]:
        """Return the response to a call that must succeed; the request is JSON as typed."""
        done = self.run(f"taskplane.v1.{method}", options=("-d", request))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
