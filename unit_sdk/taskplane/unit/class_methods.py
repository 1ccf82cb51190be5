"""Methods of a class-based executor: the required ones, and the accepted signatures.

A method is declared for one attempt, as `pause(self)`, or with a task id, as `pause(self, task_id)`. The id is a
string if the parameter is annotated with `str`. Coroutines and functions have one form, `work(task, config)`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_TASK_ID_NAMES = ("task_id", "taskId", "taskid", "id")
# Accepted names of one method.
_GET_STATUS = ("get_status", "getStatus")
_ALWAYS_NEEDED = ("start", "cancel")
_NEEDED_TO_PAUSE = ("pause", "resume")

_START_FORMS = "start(self, task, config) or start(self, task_id, config), and `checkpoint` as a third if it is wanted"


@dataclass(frozen=True)
class _MethodForm:
    """The parameters of one method."""

    name: str
    takes_task_id: bool = False
    as_string: bool = False
    takes_checkpoint: bool = False

    def arguments(self, task_id: int) -> tuple[Any, ...]:
        return (str(task_id) if self.as_string else task_id,) if self.takes_task_id else ()


class ClassMethods:
    """The methods of one class. Raises TypeError if one is missing or has none of the accepted signatures."""

    def __init__(self, executor_class: type[Any], *, can_pause: bool) -> None:
        self._forms = _forms(executor_class, can_pause=can_pause)
        _check_constructor(executor_class)

    def bind(self, instance: Any, name: str, task_id: int) -> Callable[[], Any]:
        """Return a call of `pause`, `resume`, `cancel` or `get_status`."""
        form = self._forms[name]
        return _Call(getattr(instance, form.name), form.arguments(task_id), {})

    def bind_start(
        self, instance: Any, task: Any, task_id: int, config: Any, checkpoint: Mapping[str, Any] | None
    ) -> Callable[[], Any]:
        """Return a call of `start`, with the context `task` unless the method takes the task's id."""
        form = self._forms["start"]
        more = {"checkpoint": checkpoint} if form.takes_checkpoint else {}
        return _Call(instance.start, (*(form.arguments(task_id) or (task,)), config), more)


@dataclass(frozen=True)
class _Call:
    """A bound call that keeps its method, for `is_coroutine`."""

    method: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def __call__(self) -> Any:
        return self.method(*self.arguments, **self.keywords)


def is_coroutine(call: Callable[[], Any]) -> bool:
    """Return whether a bound call calls a coroutine function."""
    return inspect.iscoroutinefunction(call.method if isinstance(call, _Call) else call)


def check_function(code: Any) -> None:
    """Raise TypeError for code that cannot be called as `work(task, config)`."""
    name = getattr(code, "__qualname__", repr(code))
    if not callable(code):
        raise TypeError(f"{name}: must be a coroutine function, a function or a class (not an instance of one)")
    try:
        signature = inspect.signature(code)
    except ValueError:  # some builtins have none
        return
    if not _can_be_called(signature, None, None):
        raise TypeError(f"{name}{signature}: must be {name}(task, config)")


def _forms(executor_class: type[Any], *, can_pause: bool) -> dict[str, _MethodForm]:
    names = {name: name for name in (*_ALWAYS_NEEDED, *(_NEEDED_TO_PAUSE if can_pause else ()))}
    names["get_status"] = next((name for name in _GET_STATUS if _has(executor_class, name)), _GET_STATUS[0])
    order = ("start", "cancel", "get_status", "pause", "resume")
    if missing := [name for name in order if name in names and not _has(executor_class, names[name])]:
        raise TypeError(f"{executor_class.__name__} lacks {', '.join(missing)}")
    return {
        name: (_start_form if name == "start" else _control_form)(executor_class, attribute)
        for name, attribute in names.items()
    }


def _has(executor_class: type[Any], name: str) -> bool:
    return callable(getattr(executor_class, name, None))


def _start_form(executor_class: type[Any], name: str) -> _MethodForm:
    signature = _signature(executor_class, name)
    first = next(iter(signature.parameters.values()), None)
    takes_task_id = first is not None and (first.name in _TASK_ID_NAMES or first.annotation in (int, "int", str, "str"))
    takes_checkpoint = "checkpoint" in signature.parameters
    more = {"checkpoint": None} if takes_checkpoint else {}
    if not _can_be_called(signature, None, None, **more):
        raise TypeError(f"{executor_class.__name__}.start{signature}: must be {_START_FORMS}")
    return _MethodForm(name, takes_task_id, _is_string(first), takes_checkpoint)


def _control_form(executor_class: type[Any], name: str) -> _MethodForm:
    signature = _signature(executor_class, name)
    first = next(iter(signature.parameters.values()), None)
    # An optional parameter is the task's id only if its name says so.
    if _can_be_called(signature) and not (first is not None and first.name in _TASK_ID_NAMES):
        return _MethodForm(name)
    if not _can_be_called(signature, None):
        raise TypeError(f"{executor_class.__name__}.{name}{signature}: must be {name}(self) or {name}(self, task_id)")
    return _MethodForm(name, takes_task_id=True, as_string=_is_string(first))


def _signature(executor_class: type[Any], name: str) -> inspect.Signature:
    """Return the signature of a method without `self`."""
    signature = inspect.signature(getattr(executor_class, name))
    if isinstance(inspect.getattr_static(executor_class, name), staticmethod | classmethod):
        return signature
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _check_constructor(executor_class: type[Any]) -> None:
    if not _can_be_called(signature := inspect.signature(executor_class)):
        raise TypeError(f"{executor_class.__name__}{signature}: must be made without arguments, one for each attempt")


def _can_be_called(signature: inspect.Signature, *arguments: Any, **more: Any) -> bool:
    try:
        signature.bind(*arguments, **more)
    except TypeError:
        return False
    return True


def _is_string(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.annotation in (str, "str")
