"""The table of settings, made from the fields of ServerConfig and the comments above them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from taskplane.server import config
from taskplane.server.config import ServerConfig

HEAD = "| variable | default | allowed | meaning |\n| --- | --- | --- | --- |"

# Constraints of pydantic, by attribute, with their signs.
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def table() -> str:
    """Return the table, in Markdown."""
    return "\n".join([HEAD, *_rows()])


def _rows() -> Iterator[str]:
    meanings = _comments(Path(config.__file__).read_text())
    for name, info in ServerConfig.model_fields.items():
        yield f"| `{variable(name)}` | {_default(info)} | {_allowed(info)} | {meanings[name]} |"


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    return name.upper() if name.startswith("db_") else f"TASKPLANE_{name.upper()}"


def _default(info: FieldInfo) -> str:
    default = info.get_default()
    return "" if default in ("", ()) else f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _allowed(info: FieldInfo) -> str:
    if choices := getattr(info.annotation, "__args__", None):
        return ", ".join(str(choice) for choice in choices if isinstance(choice, str)) or "a list, separated by commas"
    if info.annotation is bool:
        return "true, false"
    bounds = ((sign, getattr(each, name, None)) for each in info.metadata for name, sign in BOUNDS.items())
    return ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


def _comments(source: str) -> dict[str, str]:
    """Return the comment above each field."""
    lines = source.splitlines()
    (model,) = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == ServerConfig.__name__
    ]
    found: dict[str, str] = {}
    for node in model.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comment: list[str] = []
            at = node.lineno - 2
            while lines[at].strip().startswith("#"):
                comment.insert(0, lines[at].strip().lstrip("# "))
                at -= 1
            found[node.target.id] = " ".join(comment).replace("|", "\\|")
    return found
