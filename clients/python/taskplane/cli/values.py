"""The values of options: JSON documents, key=value pairs, durations, the user."""

import getpass
import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TextIO

import typer

# Days, hours, minutes and seconds, each optional. Six digits fit into any type for times.
DURATION = re.compile("".join(f"(?:([0-9]{{1,6}}){unit})?" for unit in "dhms"))


def read_config(text: str | None, file: TextIO | None, settings: Iterable[str]) -> dict[str, object]:
    """Return the config of --config or --config-file, changed by --set; dots in a key lead into nested objects."""
    if text is not None and file is not None:
        raise typer.BadParameter("give --config or --config-file, not both")
    config = _parse_object(text, "--config") if file is None else _parse_object(file.read(), "--config-file")
    for key, value in parse_pairs(settings, "--set").items():
        _set(config, key, value)
    return config


def parse_pairs(pairs: Iterable[str], option: str) -> dict[str, str]:
    """Return the keys and values of `key=value` pairs."""
    parsed = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{option} wants key=value, not {pair!r}")
        parsed[key] = value
    return parsed


def parse_duration(text: str, option: str) -> timedelta:
    """Return a duration such as 90s, 15m, 1h30m or 7d."""
    found = DURATION.fullmatch(text)
    if not text or found is None:
        raise typer.BadParameter(f"{option} wants a time such as 90s, 15m, 1h30m or 7d, not {text!r}")
    days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def user_name() -> str:
    """Return the user's name; empty, so that the server uses its own, if the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return ""


def _parse_object(text: str | None, option: str) -> dict[str, object]:
    if text is None:
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{option} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{option} is not a JSON object")
    return document


def _set(config: dict[str, object], path: str, text: str) -> None:
    *parents, last = path.split(".")
    place = config
    for key in parents:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"--set {path}: {key} is not an object")
        place = inner
    place[last] = _json_or_text(text)


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # unchanged, so that names need no quotes
