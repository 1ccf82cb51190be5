"""Hooks of MkDocs: pages made from the code, pages that stand outside docs/, and links between all of them."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from site_pages import commands, protos, rest, settings
from states_page import diagram_svg

ROOT = Path(__file__).resolve().parent.parent

# Pages of the site whose source stands elsewhere in the repository.
OUTSIDE = {
    "explanation/architecture.md": "ARCHITECTURE.md",
    "explanation/benchmark.md": "bench/README.md",
    "explanation/benchmark-history.md": "bench/HISTORY.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/security.md": "SECURITY.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/readme.md": "README.md",
    "project/readme.zh-CN.md": "README.zh-CN.md",
}

# Generated parts of pages, by the comment that they replace.
GENERATED = {
    "<!-- settings -->": settings.table,
    "<!-- commands -->": commands.sections,
    "<!-- operations -->": rest.operations,
}

_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
_MERMAID = re.compile(r"```mermaid\n.*?```", re.DOTALL)
# A browser would load these from another host.
_EXTERNAL_ASSET = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, the pages from outside docs/, and the files to which pages link."""
    files.append(File.generated(config, "reference/grpc-api.md", content=protos.page(ROOT / "protos/taskplane/v1")))
    for site_path, repository_path in OUTSIDE.items():
        files.append(File.generated(config, site_path, content=(ROOT / repository_path).read_text()))
    linked: set[str] = set()
    for file in files.documentation_pages():
        text = file.content_string
        linked |= {_target(file.src_uri, link[2]) for link in _LINK.finditer(text) if "://" not in link[2]}
    for path in sorted(linked):
        if not path.endswith(".md") and (ROOT / path).is_file():
            files.append(File.generated(config, _published(path), content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the generated parts, and turn links within the repository into links within the site."""
    for marker, content in GENERATED.items():
        if marker in markdown:
            markdown = markdown.replace(marker, content())
    markdown = _MERMAID.sub(lambda _: diagram_svg(), markdown)
    return _LINK.sub(lambda link: f"{link[1]}{_site_link(page.file.src_uri, link[2])}{link[3] or ''})", markdown)


def on_post_build(config: Any) -> None:
    """Refuse a site that loads anything from another host."""
    for path in Path(config["site_dir"]).rglob("*.html"):
        if found := _EXTERNAL_ASSET.search(path.read_text()):
            raise PluginError(f"{path} loads an asset from elsewhere: {found[0]}")


def _target(src_uri: str, link: str) -> str:
    """Return the repository's path of a link on a page."""
    source = OUTSIDE.get(src_uri, f"docs/{src_uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _published(path: str) -> str:
    """Return where the site has a file of the repository that is no page: as text, so that browsers show it."""
    return f"files/{path}.txt"


def _site_link(src_uri: str, link: str) -> str:
    if "://" in link:
        return link
    path = _target(src_uri, link)
    pages = {repository_path: site_path for site_path, repository_path in OUTSIDE.items()}
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    if path in pages:
        target = pages[path]
    elif path.startswith("docs/"):
        target = path.removeprefix("docs/")
    elif (ROOT / path).is_file():
        target = _published(path)
    else:
        return link  # MkDocs warns of the link
    return posixpath.relpath(target, posixpath.dirname(src_uri) or ".")
