"""Options and arguments that several commands have."""

from typing import Annotated

import typer

# As large as any int64, the type of ids.
MAX_ID = 2**63 - 1

TaskId = Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="The task.")]
TaskIds = Annotated[list[int], typer.Argument(metavar="ID...", min=1, max=MAX_ID, help="The tasks.")]
Reason = Annotated[str, typer.Option(help="Why; goes to the history.")]
Actor = Annotated[str | None, typer.Option(show_default="your user name", help="Who asks; goes to the history.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
PageToken = Annotated[str, typer.Option(help="Go on where a page ended.")]
All = Annotated[bool, typer.Option("--all", help="Every page, without a limit.")]
