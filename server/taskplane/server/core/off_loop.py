"""A thread for the conversion of large documents, which would block the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# One thread: the interpreter runs one at a time, and with several threads the event loop would wait for each in turn.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that only computes in the thread for large documents, and return its result."""
    if kwargs:
        return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: function(*args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_THREAD, function, *args)
