"""The reference page of the gRPC API, made from the .proto files and their comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HEAD = """# gRPC API

This page is made from the `.proto` files in `protos/taskplane/v1`. Names of messages and enums are links.
"""

# Order of the page: the services first.
FILES = (
    "task_service.proto",
    "operations_service.proto",
    "execution_unit_control.proto",
    "task.proto",
    "execution_unit.proto",
)

_BLOCK = re.compile(r"(service|message|enum) (\w+) \{(\})?$")
_ONEOF = re.compile(r"oneof (\w+) \{$")
_RPC = re.compile(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);$")
_FIELD = re.compile(r"((?:repeated |optional )?[\w.]+(?:<[\w., ]+>)?) (\w+) = (\d+);$")
_VALUE = re.compile(r"(\w+) = (\d+);$")
_LIST_ITEM = re.compile(r" *(?:\d+\. |- )")


@dataclass(frozen=True)
class Row:
    """A method, a field or an enum value."""

    name: str
    type: str
    number: str
    comment: list[str]
    oneof: str = ""


@dataclass
class Block:
    """A service, a message or an enum."""

    kind: str
    name: str
    comment: list[str]
    rows: list[Row] = field(default_factory=list)


def parse(source: str) -> list[Block]:
    """Return the components of a .proto file in buf's format: one declaration a line, comments above."""
    blocks: list[Block] = []
    comment: list[str] = []
    depth, oneof = 0, ""
    for line in map(str.strip, source.splitlines()):
        if line.startswith("//"):
            comment.append(line[2:])
            continue
        if opened := _BLOCK.match(line):
            blocks.append(Block(opened[1], opened[2], comment))
            depth = 0 if opened[3] else 1
        elif choice := _ONEOF.match(line):
            oneof, depth = choice[1], 2
        elif line == "}":
            oneof, depth = "", depth - 1
        elif depth and (row := _row(line, comment, oneof)):
            blocks[-1].rows.append(row)
        comment = []
    return blocks


def _row(line: str, comment: list[str], oneof: str) -> Row | None:
    if method := _RPC.match(line):
        name, asks, request, answers, response = method.groups()
        return Row(name, f"{asks or ''}{request} → {answers or ''}{response}", "", comment)
    if entry := _FIELD.match(line):
        return Row(entry[2], entry[1], entry[3], comment, oneof)
    if value := _VALUE.match(line):
        return Row(value[1], "", value[2], comment)
    return None


def page(folder: Path) -> str:
    """Return the whole page, in Markdown."""
    files = {name: parse((folder / name).read_text()) for name in FILES}
    known = {block.name for blocks in files.values() for block in blocks}
    parts = [HEAD]
    for name, blocks in files.items():
        parts += [f"\n## {name}\n"]
        for block in blocks:
            parts += _block_lines(block, known)
    return "\n".join(parts) + "\n"


def _block_lines(block: Block, known: set[str]) -> Iterator[str]:
    yield f"\n### {block.name} {{ #{block.name.lower()} }}\n"
    yield f"*{block.kind}*\n"
    yield _text(block.comment)
    match block.kind:
        case "service":
            for row in block.rows:
                yield f"\n#### {row.name} {{ #{block.name.lower()}-{row.name.lower()} }}\n"
                yield f"{_linked(row.type, known)}\n"
                yield _text(row.comment)
        case "enum":
            yield "\n| value | number | meaning |\n| --- | --- | --- |"
            yield from (f"| `{row.name}` | {row.number} | {_cell(row.comment)} |" for row in block.rows)
        case _:
            if not block.rows:
                return
            yield "\n| field | type | number | meaning |\n| --- | --- | --- | --- |"
            for row in block.rows:
                choice = f"*{row.oneof}:* " if row.oneof else ""
                yield f"| `{row.name}` | {_linked(row.type, known)} | {row.number} | {choice}{_cell(row.comment)} |"


def _text(comment: list[str]) -> str:
    """Return a comment as Markdown: lists keep their shape, with the indent that Markdown wants."""
    lines: list[str] = []
    for line in (each.removeprefix(" ") for each in comment):
        if _LIST_ITEM.match(line):
            lines += ["", line.strip()]
        elif line.startswith("  ") and line.strip():
            lines.append("    " + line.strip())
        else:
            lines.append(line)
    return "\n".join(lines)


def _cell(comment: list[str]) -> str:
    return " ".join(line.strip() for line in comment).replace("|", "\\|")


def _linked(type_name: str, known: set[str]) -> str:
    escaped = type_name.replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"\w+", lambda word: f"[{word[0]}](#{word[0].lower()})" if word[0] in known else word[0], escaped)
