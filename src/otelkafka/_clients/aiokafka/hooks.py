"""A hook of consumed records that may be async. It is awaited by the call that returns the record."""

from contextvars import ContextVar
from typing import Any, Final

from otelkafka._clients.calls import Args, KwArgs
from otelkafka._telemetry.guard import Guard


class _Fetch:
    """A call of the client that returns one record, and the awaitables that hooks have returned meanwhile."""

    __slots__ = ("args", "awaitables", "kwargs")

    def __init__(self, args: Args, kwargs: KwArgs) -> None:
        self.args = args
        self.kwargs = kwargs
        self.awaitables: list[Any] = []


_fetch: Final[ContextVar[_Fetch | None]] = ContextVar("otelkafka_fetch", default=None)


class AwaitedConsumeHook:
    """Calls a hook with span, record, and the arguments of the call that the record came from.

    The engine calls the hook when the process span begins, where it cannot await. The face awaits the result as soon as
    it can. For the records of a list or a block nothing can await, and the hook must not wait.

    Args:
        hook: the user's, async or not.
    """

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def __call__(self, span: Any, record: Any, args: Args, kwargs: KwArgs) -> None:
        """Call the hook.

        Raises:
            RuntimeError: the hook waits where it cannot be awaited.
        """
        fetch = _fetch.get()
        if fetch is not None:
            args, kwargs = fetch.args, fetch.kwargs
        result = self._hook(span, record, args, kwargs)
        if not hasattr(result, "__await__"):
            return
        if fetch is None:
            _run(result)
        else:
            fetch.awaitables.append(result)

    def collect(self, receive: Any, record: Any, started: int, args: Args, kwargs: KwArgs) -> tuple[Any, list[Any]]:
        """Begin the span of a record, and collect what hooks return.

        Args:
            receive: begins the span.
            record: the record.
            started: when the fetch began, Unix time in nanoseconds.
            args: the arguments of the call that returned the record.
            kwargs: its keyword arguments.

        Returns:
            The result of `receive`, and the awaitables.
        """
        fetch = _Fetch(args, kwargs)
        token = _fetch.set(fetch)
        try:
            return receive(record, started), fetch.awaitables
        finally:
            _fetch.reset(token)


async def await_hook(guard: Guard, name: str, result: Any) -> None:
    """Await the result of a hook, if it is an awaitable. Its exceptions are contained.

    Args:
        guard: contains the exceptions.
        name: the name of the hook.
        result: the result of the hook.
    """
    if not hasattr(result, "__await__"):
        return
    try:
        await result
    except Exception as error:  # noqa: BLE001 (whatever it is, the application must not get it)
        guard.contain(name, error)


def _run(awaitable: Any) -> None:
    """Run a coroutine that does not wait."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration:
        return
    steps.close()
    msg = "it waits, and can be awaited for records of `async for` and getone() only: from getmany() it must not wait"
    raise RuntimeError(msg)
