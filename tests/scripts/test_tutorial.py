"""The tutorial and the README, run as printed: programs, and commands terminal by terminal."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "tutorial"
BLOCK = re.compile(r'```(\w+) title="([^"]+)"\n(.*?)```', re.DOTALL)
# A command of the tutorial returns within seconds; the longest watches 48 steps of 0.05 s.
COMMAND_SECONDS = 60
# A terminal of the README, and the indented lines below it.
README_BLOCK = re.compile(r"^(Terminal \d|终端 \d)[^\n]*\n\n((?:    [^\n]*\n)+)", re.MULTILINE)


@dataclass
class Reader:
    """Someone who follows the tutorial in a folder, with ports that are free."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, tuple[subprocess.Popen[str], threading.Thread]] = field(default_factory=dict)

    def follow(self, language: str, title: str, text: str) -> None:
        if language == "python":
            (self.folder / title).write_text(text)
        elif title == "Terminal 3":
            for line in text.splitlines():
                self.run(line)
        else:
            self.start(title, text)

    def run(self, line: str) -> None:
        """Run a command; repeat a look at a task until it shows the expected status, as a reader does."""
        command, _, expected = line.partition(" # ")
        give_up_at = time.monotonic() + COMMAND_SECONDS
        while True:
            done = self._run(command)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            if expected in done.stdout:
                return
            assert command.startswith("taskplane task get"), (line, done.stdout)
            assert time.monotonic() < give_up_at, (line, done.stdout)

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  the tutorial's command
            ["bash", "-c", command],  # noqa: S607
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def start(self, terminal: str, command: str) -> None:
        """Start what a terminal shows; what ran there before is killed, as the tutorial says."""
        self.kill(terminal)
        process = subprocess.Popen(  # noqa: S603  ditto
            ["bash", "-c", f"exec {command}"],  # noqa: S607
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        is_server = "serve" in command
        line = next(each for each in process.stdout if (each.startswith("ready") if is_server else "welcomed" in each))
        if is_server:
            self.environment["TASKPLANE_SERVER"] = line.split("grpc=")[1].split()[0]
        # The rest of the output is read, so that the process never waits for a full pipe.
        rest = threading.Thread(target=process.stdout.read)
        rest.start()
        self.processes[terminal] = process, rest

    def kill(self, terminal: str) -> None:
        if running := self.processes.pop(terminal, None):
            process, rest = running
            with process:
                process.kill()
                rest.join()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    free_ports = {"TASKPLANE_GRPC": "127.0.0.1:0", "TASKPLANE_HTTP": "127.0.0.1:0"}
    reader = Reader(tmp_path, os.environ | {"PATH": path} | free_ports)
    yield reader
    for terminal in list(reader.processes):
        reader.kill(terminal)


def blocks_of(page: str) -> list[tuple[str, str, str]]:
    return BLOCK.findall((DOCS / page).read_text())


def test_the_tutorial_runs_as_printed(reader: Reader) -> None:
    blocks = blocks_of("first-unit.md")
    assert [title for _, title, _ in blocks[:3]] == ["Terminal 1", "primes.py", "Terminal 2"]
    for block in blocks:
        reader.follow(*block)


def test_both_languages_print_the_same_code() -> None:
    def without_comments(page: str) -> list[tuple[str, str, str]]:
        return [(language, title, re.sub("  # .*", "", text)) for language, title, text in blocks_of(page)]

    assert without_comments("first-unit.md") == without_comments("first-unit.zh-CN.md")


def test_the_readme_runs_as_printed(reader: Reader) -> None:
    shutil.copytree(ROOT / "examples", reader.folder / "examples")
    blocks = README_BLOCK.findall((ROOT / "README.md").read_text())
    assert [title for title, _ in blocks] == ["Terminal 1", "Terminal 2", "Terminal 3"]
    for title, text in blocks:
        export, *commands = text.replace("    ", "").replace("upTo=600", "upTo=50").splitlines()
        assert export == 'export PATH="$PWD/.venv/bin:$PATH"'
        reader.follow("sh", title, "\n".join(commands))
    reader.run("taskplane task get 1 # SUCCESS")


def test_both_readmes_print_the_same_commands() -> None:
    english, chinese = (README_BLOCK.findall((ROOT / name).read_text()) for name in ("README.md", "README.zh-CN.md"))
    assert [text for _, text in english] == [text for _, text in chinese]
