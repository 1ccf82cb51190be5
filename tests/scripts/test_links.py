"""Links between the Markdown files of the repository lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Pages that the site makes; the repository has no file for them.
MADE_BY_THE_SITE = {"docs/reference/grpc-api.md"}


def pages() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return listed.stdout.split()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    for link in LINK.findall((ROOT / page).read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if target.relative_to(ROOT).as_posix() in MADE_BY_THE_SITE:
            continue
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_files_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`((?:\w+/)*\w+(?:\.py|/))`", (ROOT / "ARCHITECTURE.md").read_text())
    assert named
    server = ROOT / "server/taskplane/server"
    missing = [path for path in named if not (server / path).exists() and not (ROOT / path).exists()]
    assert missing == []
