"""Plain functions in new threads."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a new thread; return its result or raise its exception.

    Replaces asyncio.to_thread, whose small pool would be used up by paused tasks, and whose stuck threads keep the
    process from exiting. Cancelling the caller does not stop the function.
    """
    outcome: Future[R] = Future()
    ended: Future[None] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised in the caller
            outcome.set_exception(error)
        ended.set_result(None)

    ended.set_running_or_notify_cancel()
    threading.Thread(target=work, name=name, daemon=True).start()
    await asyncio.wrap_future(ended)
    # Raised here, since an asyncio future refuses StopIteration.
    return outcome.result()
