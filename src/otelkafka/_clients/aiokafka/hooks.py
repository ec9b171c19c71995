"""A hook of consumed records that may be async: it is awaited where a record is handed over to who awaits it."""

from contextvars import ContextVar
from typing import Any, Final

from otelkafka._clients.calls import Args, KwArgs
from otelkafka._telemetry.guard import Guard


class _Fetch:
    """A call of the client's that hands over one record, and what the hooks have returned that is to be awaited."""

    __slots__ = ("args", "awaitables", "kwargs")

    def __init__(self, args: Args, kwargs: KwArgs) -> None:
        self.args = args
        self.kwargs = kwargs
        self.awaitables: list[Any] = []


_fetch: Final[ContextVar[_Fetch | None]] = ContextVar("otelkafka_fetch", default=None)


class AwaitedConsumeHook:
    """Calls a hook with span, record, and the arguments of the call that the record came from.

    The engine calls it where the process span begins, which it cannot await there. What it returns is awaited as soon
    as the face can; from a list or a block, which cannot await, it runs until it would wait.

    Args:
        hook: the user's, async or not.
    """

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def __call__(self, span: Any, record: Any, args: Args, kwargs: KwArgs) -> None:
        """Call the hook.

        Raises:
            RuntimeError: it waits where it cannot be awaited.
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
        """Call what begins the span of a record.

        Args:
            receive: begins it.
            record: for it.
            started: for it.
            args: of the call that handed the record over.
            kwargs: of that call.

        Returns:
            What it returned, and what is to be awaited.
        """
        fetch = _Fetch(args, kwargs)
        token = _fetch.set(fetch)
        try:
            return receive(record, started), fetch.awaitables
        finally:
            _fetch.reset(token)


async def await_hook(guard: Guard, name: str, result: Any) -> None:
    """Await what a hook returned, if it can be awaited; what it raises is contained.

    Args:
        guard: contains it.
        name: of the hook.
        result: what it returned.
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
