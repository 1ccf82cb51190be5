"""The options of every command of the command line, made from the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer.main

from taskplane.cli.app import app


def sections() -> str:
    """Return a section for each command, in Markdown."""
    return "\n".join(_command_lines(typer.main.get_command(app), ["taskplane"]))


def _command_lines(command: Any, words: list[str]) -> Iterator[str]:
    if children := getattr(command, "commands", None):
        if words == ["taskplane"]:
            yield from _own_lines(command, words)
        for name, child in children.items():
            yield from _command_lines(child, [*words, name])
    else:
        yield from _own_lines(command, words)


def _own_lines(command: Any, words: list[str]) -> Iterator[str]:
    yield f"\n### {' '.join(words)}\n"
    yield f"{command.help or ''}\n"
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    yield "| argument or option | meaning |\n| --- | --- |"
    for parameter in shown:
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.metavar or parameter.name).upper()}`"
        else:
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
        default = _default(parameter)
        yield f"| {names} | {text}{default} |"


def _default(parameter: Any) -> str:
    value = parameter.default
    if value in (None, False, True, "", ()) or callable(value) or "Sentinel" in type(value).__name__:
        return ""
    return f" Default: `{getattr(value, 'value', value)}`."
