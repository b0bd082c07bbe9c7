"""Runs blocking work of one kind in a thread of its own, one piece after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """A thread; call it with a function and its arguments."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something in the thread, behind what it does already. It is done even if the caller stops waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def end(self, *, wait: bool = False) -> None:
        """End the thread once it has done everything, and wait for that if told so."""
        self._executor.shutdown(wait)
