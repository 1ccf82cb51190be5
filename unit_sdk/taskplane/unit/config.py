"""Conversion of a task's config to the type that its executor declares."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

from taskplane.unit.errors import TaskFailed

# A dataclass, a pydantic model class, or any callable that converts a dict.
ConfigReader = Callable[..., Any]


def read_config(reader: ConfigReader | None, config: dict[str, Any]) -> Any:
    """Return the config as converted by `reader`; without a reader, the dict itself.

    Raises TaskFailed, not retryable, with the names of the wrong fields if the reader raises TypeError, ValueError
    (as pydantic's ValidationError is) or KeyError.
    """
    if reader is None:
        return config
    try:
        return _read(reader, config)
    except KeyError as error:
        raise TaskFailed(f"bad config: {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise TaskFailed(f"bad config: {_describe(error)}") from error


def _read(reader: ConfigReader, config: dict[str, Any]) -> Any:
    # Recognised by its method, so that the SDK does not need pydantic.
    if callable(validate := getattr(reader, "model_validate", None)):
        return validate(config)
    if isinstance(reader, type) and dataclasses.is_dataclass(reader):
        _check_fields(reader, config)
        return reader(**config)
    return reader(config)


def _describe(error: Exception) -> str:
    """Join pydantic's errors, one phrase for each field; return any other error as text."""
    if not callable(errors := getattr(error, "errors", None)):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, found['loc'])) or 'config'}: {found['msg']}" for found in errors())


def _check_fields(model: type[Any], config: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in dataclasses.fields(model) if field.init}
    hints = typing.get_type_hints(model)
    problems = [f"{name}: unknown field" for name in config if name not in fields]
    problems += [f"{name}: missing" for name, field in fields.items() if _is_required(field) and name not in config]
    problems += [
        f"{name}: must be {_type_name(hints[name])}, not {value!r}"
        for name, value in config.items()
        if name in fields and not _fits(value, hints[name])
    ]
    if problems:
        raise ValueError("; ".join(problems))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: object, hint: Any) -> bool:
    """Return whether a JSON value fits the annotation; other annotations are left to the dataclass."""
    origin = typing.get_origin(hint) or hint
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in typing.get_args(hint))
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (int, float):
        return isinstance(value, int | origin) and not isinstance(value, bool)
    if origin in (str, bool, list, dict, types.NoneType):
        return isinstance(value, origin)
    return True


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
