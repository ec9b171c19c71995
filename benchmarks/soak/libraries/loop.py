"""The event loop in which the clients of asyncio live, for scenarios that run in threads."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

from benchmarks.soak.libraries.library import Place
from testbroker.wait import PATIENCE


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what comes of a coroutine, which is a task of the loop in the caller's context.

        Raises:
            TimeoutError: nothing does.
        """
        running = self.begin(coroutine)
        try:
            return running.result(PATIENCE)
        except NotInTime:
            if running.done():  # the error of the coroutine itself
                raise
            running.cancel()
            msg = f"waited {PATIENCE:.0f} s for a call of a client"
            raise TimeoutError(msg) from None

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Have a coroutine run, and return its future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """End every task, and the loop."""
        self.run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


async def _end_tasks() -> None:
    """Cancel all other tasks of this loop, those of clients that were left unclosed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def within(seconds: float | None, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what comes of a coroutine, or cancel it after so many seconds, and raise what came of that.

    Raises:
        CancelledError: it was cancelled, which it passed on.
    """
    task = asyncio.ensure_future(coroutine)
    _, late = await asyncio.wait([task], timeout=seconds)
    for each in late:
        each.cancel()
    await asyncio.wait([task])
    return task.result()


class Blocking:
    """A client whose methods are awaited, for callers that do not await: each call runs in its loop.

    Args:
        loop: the loop that it lives in.
        client: the client.
    """

    def __init__(self, loop: Loop, client: Any) -> None:
        self._loop = loop
        self._client = client

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the client; of a method, what calls it and waits for the result."""
        found = getattr(self._client, name)
        return found if not callable(found) else lambda *args, **kwargs: self._loop.run(found(*args, **kwargs))


class Sent:
    """A record that was sent by a client whose methods are awaited.

    Args:
        loop: the loop of the client.
        future: the future of the client.
        place_of: returns where the record was written, by the result of the future.
    """

    def __init__(self, loop: Loop, future: Awaitable[Any], place_of: Callable[[Any], Place]) -> None:
        self._loop = loop
        self._future = future
        self._waiting: Future[Place] = loop.begin(_place_of(future, place_of))

    @property
    def is_done(self) -> bool:
        """Whether its future is done."""
        return self._waiting.done()

    def get(self, timeout: float) -> Place:
        """Return where it was written."""
        return self._waiting.result(timeout)

    def give_up(self, timeout: float) -> None:
        """Await its future, and cancel that."""
        self._loop.run(within(timeout, _result_of(self._future)))


async def _place_of(future: Awaitable[Any], place_of: Callable[[Any], Place]) -> Place:
    return place_of(await asyncio.shield(future))


async def _result_of(future: Awaitable[Any]) -> Any:
    return await future
