"""Options and arguments of several commands."""

from typing import Annotated

import typer

# The largest int64, the type of ids.
MAX_ID = 2**63 - 1

TaskId = Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="The task.")]
TaskIds = Annotated[list[int], typer.Argument(metavar="ID...", min=1, max=MAX_ID, help="The tasks.")]
Reason = Annotated[str, typer.Option(help="The reason, for the history.")]
Actor = Annotated[str | None, typer.Option(show_default="your user name", help="The caller, for the history.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="The maximum number.")]
PageToken = Annotated[str, typer.Option(help="Continue after an earlier page.")]
All = Annotated[bool, typer.Option("--all", help="Every page, without a limit.")]
