"""`taskplane unit run`: a built-in unit, or a unit of the user's own."""

import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack

import typer

from taskplane.cli.errors import ExitCode, complain
from taskplane.cli.settings import Settings, takes_settings
from taskplane.cli.values import parse_pairs
from taskplane.client.channel import SERVER_VARIABLE

if TYPE_CHECKING:
    from taskplane.unit import Unit


class UnitOptions(TypedDict):
    """The options of a built-in unit."""

    id: str | None
    name: str
    capacity: int
    labels: dict[str, str]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(takes_settings(run))


def run(  # noqa: PLR0913  an option for each field
    settings: Settings,
    what: Annotated[
        str, typer.Argument(metavar="NAME", help="A built-in unit, or FILE.py:VARIABLE or MODULE:VARIABLE.")
    ],
    *,
    unit_id: Annotated[
        str | None, typer.Option("--id", show_default="the server gives one", help="The unit's id over restarts.")
    ] = None,
    name: Annotated[str | None, typer.Option(show_default="NAME", help="The unit's name.")] = None,
    capacity: Annotated[
        int | None, typer.Option(min=0, max=10000, show_default="1", help="The number of concurrent tasks.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label that tasks can require.")
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Listen on 127.0.0.1:PORT and be driven over HTTP; 0 picks a port."
        ),
    ] = None,
    http_server: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default="http://127.0.0.1:3000", help="With --http: the server's REST API."),
    ] = None,
) -> None:
    """Run an execution unit until SIGTERM or Ctrl-C, which release its tasks. A second signal ends the unit at once."""
    os.environ[SERVER_VARIABLE] = settings.server  # the default server of a Unit
    if ":" in what:
        if any(given is not None for given in (unit_id, name, capacity, label)):
            raise typer.BadParameter("--id, --name, --capacity and --label are for built-in units")
        raise typer.Exit(_run(_own_unit(what), http, http_server))
    unit = _built_in_unit(
        what,
        id=unit_id,
        name=name or what,
        capacity=1 if capacity is None else capacity,
        labels=parse_pairs(label or [], "--label"),
    )
    raise typer.Exit(_run(unit, http, http_server))


def _run(unit: "Unit", http: int | None, http_server: str | None) -> ExitCode:
    from taskplane.unit import UnitRejected  # noqa: PLC0415  the SDK is loaded only to run a unit

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if http is None:
            unit.run()
        else:
            unit.serve_http(http, server=http_server)
    except (UnitRejected, OSError) as error:
        return complain(str(error), ExitCode.FAILED)
    return ExitCode.OK


def _built_in_unit(what: str, **about: Unpack[UnitOptions]) -> "Unit":
    from taskplane import units  # noqa: PLC0415  likewise
    from taskplane.unit import Unit  # noqa: PLC0415  likewise

    if what not in units.NAMES:
        raise typer.BadParameter(f"no built-in unit is called {what!r}; there are: {', '.join(units.NAMES)}")
    spec = units.built_in_unit(what)
    unit = Unit(type=spec.unit_type, **about)
    try:
        spec.register(unit)
    except ModuleNotFoundError as error:
        message = f"the unit {what} needs {error.name}: pip install 'taskplane[units]'"
        raise typer.Exit(complain(message, ExitCode.FAILED)) from error
    return unit


def _own_unit(what: str) -> "Unit":
    from taskplane.unit import Unit  # noqa: PLC0415  likewise

    source, _, variable = what.rpartition(":")
    module = _load_file(Path(source)) if source.endswith(".py") else _load_module(source)
    unit = getattr(module, variable, None)
    if not isinstance(unit, Unit):
        raise typer.BadParameter(f"{source} has no taskplane.unit.Unit that is called {variable!r}")
    return unit


def _load_file(path: Path) -> ModuleType:
    """Return the module in the file. The file may import its neighbours, as when Python runs it."""
    if not path.is_file():
        raise typer.BadParameter(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise typer.BadParameter(f"{path} is not a Python file")
    sys.path.insert(0, str(path.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickle look up their module
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    """Return the module of this name, installed or in the working directory."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise typer.BadParameter(f"there is no module {name}") from error
