#!/usr/bin/env python3
"""Generate the synchronous client from the asyncio client.

    generate_sync_client.py            writes clients/python/taskplane/client/sync/
    generate_sync_client.py --check    fails if the files there differ from what would be written

See docs/decisions/0014-the-synchronous-client-is-generated.md.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

PROJECT = Path(__file__).parents[1]
CLIENT = PROJECT / "clients/python/taskplane/client"
RUFF = Path(sys.executable).with_name("ruff")
# Only asyncio has these two; `transport` is written by hand for both.
NOT_GENERATED = {"__init__.py", "client.py", "coalescing.py", "transport.py"}
HEADER = "# Generated from ../aio/{name} by `make sync-client`. Do not edit.\n"


def sources() -> list[Path]:
    """Return the modules that the synchronous client is made from."""
    return sorted(path for path in (CLIENT / "aio").glob("*.py") if path.name not in NOT_GENERATED)


def class_names() -> dict[str, str]:
    """Map each asyncio class to the synchronous one: AsyncTaskCalls to TaskCalls."""
    names = {name for path in sources() for name in re.findall(r"^class (Async\w+)", path.read_text(), re.MULTILINE)}
    return {name: name.removeprefix("Async") for name in names}


def generate(folder: Path) -> None:
    """Write the synchronous modules into a folder."""
    # unasync writes a tree next to its input.
    (folder / "aio").mkdir()
    for path in sources():
        (folder / "aio" / path.name).write_text(path.read_text())
    rule = unasync.Rule(
        f"{folder}/aio/",
        f"{folder}/sync/",
        additional_replacements={**class_names(), "aio": "sync", "aclosing": "closing"},
    )
    unasync.unasync_files([str(folder / "aio" / path.name) for path in sources()], [rule])
    for path in (folder / "sync").glob("*.py"):
        path.write_text(HEADER.format(name=path.name) + path.read_text())
    settings = ["--quiet", "--config", str(PROJECT / "pyproject.toml")]
    subprocess.run([RUFF, "check", *settings, "--select", "I,F401", "--fix", folder / "sync"], check=True)  # noqa: S603
    subprocess.run([RUFF, "format", *settings, folder / "sync"], check=True)  # noqa: S603


def main() -> None:
    """Write the modules, or compare them and exit with 1 if they differ."""
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name))
        fresh = {path.name: path.read_text() for path in (Path(name) / "sync").glob("*.py")}
    target = CLIENT / "sync"
    present = {path.name: path.read_text() for path in target.glob("*.py") if path.name not in NOT_GENERATED}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
        if stale:
            sys.exit(f"stale in {target.relative_to(PROJECT)}: {', '.join(stale)}; run `make sync-client`")
        return
    for name in present.keys() - fresh.keys():
        (target / name).unlink()
    for name, text in fresh.items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main()
