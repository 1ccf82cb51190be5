"""Code for a dialect stands only in the class of the dialect."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskplane.server import store
from taskplane.server.store import dialects

_STORE = Path(store.__file__).parent
_DIALECTS = Path(dialects.__file__).parent
# The schema gives columns a type for each dialect; migrations are history.
_OTHERS = sorted(
    each
    for each in _STORE.rglob("*.py")
    if not each.is_relative_to(_DIALECTS) and each.name != "schema.py" and "migrations" not in each.parts
)
_NAMES = {"sqlite", "mysql", "mariadb"}
_DRIVERS = {"sqlite3", "aiosqlite", "pymysql", "aiomysql"}


def asked_of(source: str) -> Iterator[str]:
    """Yield the places where a module asks for the dialect by name, or imports a driver."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if text.lower() in _NAMES:
                yield f"line {node.lineno}: {text!r}"
            case ast.Attribute(attr="dialect" | "is_mariadb" as name):
                yield f"line {node.lineno}: .{name}"
            case ast.Import(names=names):
                yield from (f"import {each.name}" for each in names if each.name.split(".")[0] in _DRIVERS)
            case ast.ImportFrom(module=str(module)):
                last = module.rpartition(".")[2]
                if module.split(".")[0] in _DRIVERS or any(last.startswith(name) for name in _NAMES):
                    yield f"from {module}"
            case _:
                pass


@pytest.mark.parametrize("path", _OTHERS, ids=lambda path: path.stem)
def test_no_other_module_of_the_store_asks_for_the_dialect(path: Path) -> None:
    assert not list(asked_of(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        'if connection.dialect.name == "sqlite": pass',
        "import pymysql",
        "from sqlalchemy.dialects.mysql import VARCHAR",
        "from taskplane.server.store.dialects.mysql_errors import kinds",
        'name in ("MySQL",)',
    ],
)
def test_a_module_that_does_is_found(source: str) -> None:
    assert list(asked_of(source))
