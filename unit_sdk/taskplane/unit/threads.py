"""Plain functions on threads of their own."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a function in a new thread and returns or raises what it does.

    Not asyncio.to_thread: its pool has few threads, which paused tasks would use up, and a process cannot leave while
    one of them is stuck. Cancelling the caller does not stop the function.
    """
    outcome: Future[R] = Future()
    ended: Future[None] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            outcome.set_exception(error)
        ended.set_result(None)

    ended.set_running_or_notify_cancel()
    threading.Thread(target=work, name=name, daemon=True).start()
    await asyncio.wrap_future(ended)
    # Not raised through an asyncio future, which refuses StopIteration.
    return outcome.result()
