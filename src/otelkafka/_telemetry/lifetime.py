"""Ends without a call: by garbage collection, at the end of the process, and after a fork.

A garbage collection runs finalizers at any allocation. The thread may hold any lock then, also one that the finalizer
needs: of the SDK, of logging or of a hook. So the work of a finalizer waits until the collection is over.
"""

import _thread
import atexit
import gc
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import Final, Protocol
from weakref import ref

waiting: Final[deque[Callable[[], None]]] = deque()
"""What finalizers have left to do; each traced call asks, and does it."""

_reports_collections = hasattr(gc, "callbacks")  # PyPy does not
_collecting = 0
_lasting: dict[int, "ref[Lasting]"] = {}


class Lasting(Protocol):
    """What ends with the process at the latest."""

    def end_all(self) -> None:
        """End what is open."""

    def restart(self) -> None:
        """Forget what is open, in the child of a fork. It belongs to the parent."""


def is_collecting() -> bool:
    """Return whether this thread may be collecting garbage now. If so, it must take no lock."""
    return not _reports_collections or collects_for_certain()


def collects_for_certain() -> bool:
    """Return whether this thread is certainly collecting garbage now; False if the interpreter does not report it."""
    return _collecting == get_ident()


def finish(work: Callable[[], None]) -> None:
    """Do the work of a finalizer now, or as soon as the current collection is over."""
    if not is_collecting():
        work()
        return
    waiting.append(work)
    with suppress(Exception):  # the interpreter may be ending; `threading` would take a lock here
        _thread.start_new_thread(finish_waiting, ())


def finish_waiting() -> None:
    """Do the work of finalizers that has waited."""
    while True:
        try:
            work = waiting.popleft()
        except IndexError:
            return
        with suppress(Exception):  # a thread of its own has no caller to report to
            work()


def end_at_exit(lasting: Lasting) -> None:
    """At exit, end what the object has open, before the present providers are shut down. It is held weakly."""
    key = id(lasting)
    _lasting[key] = ref(lasting, lambda _: _lasting.pop(key, None))
    end_before_providers()


def end_before_providers() -> None:
    """At exit, end what is open, before the present providers are shut down."""
    atexit.unregister(_end_all)
    atexit.register(_end_all)


def _end_all() -> None:
    finish_waiting()
    for lasting in _living():
        with suppress(Exception):
            lasting.end_all()


def _restart() -> None:
    waiting.clear()
    for lasting in _living():
        lasting.restart()


def _living() -> list[Lasting]:
    return [lasting for lasting in (reference() for reference in list(_lasting.values())) if lasting is not None]


def _note_collection(phase: str, _: object, collector: Callable[[], int] = get_ident) -> None:
    global _collecting  # noqa: PLW0603 (one collection at a time)
    _collecting = collector() if phase == "start" else 0


if _reports_collections:
    gc.callbacks.append(_note_collection)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart)
