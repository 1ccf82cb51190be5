"""Descriptions of messages, fields and methods: the comments of the .proto files, with names as in JSON."""

import re
from functools import cache
from importlib.resources import files

from taskplane.gateway.schema import camel_case

_BLOCK = re.compile(r"(message|enum|service|oneof|rpc) (\w+).*")
_FIELD = re.compile(r"(?:optional |repeated )?[\w.<>, ]+ (\w+) = \d+.*;")
_CODE = re.compile(r"`([a-z_.]+)`")
_RENAMED = {"expected_revision": "revision", "no_wait": "wait"}


@cache
def comments() -> dict[str, str]:
    """Return the comments by name: `Task`, `Task.priority`, `TaskService.ListTasks`."""
    found: dict[str, str] = {}
    for file in sorted(files("taskplane.v1").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".proto"):
            _add_comments(found, file.read_text())
    return found


def _add_comments(found: dict[str, str], text: str) -> None:
    comment: list[str] = []
    owners: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        described = _CODE.sub(_in_json, " ".join(comment))
        comment = []
        if block := _BLOCK.fullmatch(line):
            kind, name = block.groups()
            if kind != "oneof":
                found[f"{owners[-1]}.{name}" if kind == "rpc" else name] = described
            if line.endswith("{"):
                # The fields of a oneof are fields of its message.
                owners.append(owners[-1] if kind == "oneof" else name)
        elif field := _FIELD.fullmatch(line):
            if owners:
                found[f"{owners[-1]}.{field[1]}"] = described
        elif line == "}":
            owners.pop()


def _in_json(code: re.Match[str]) -> str:
    return f"`{_RENAMED.get(code[1], camel_case(code[1]))}`"
