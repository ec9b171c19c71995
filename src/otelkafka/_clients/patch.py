"""Zero code: replaces the methods of a client class by those of a face."""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple
from weakref import finalize

from otelkafka._clients.calls import (
    Call,
    bound,
    is_awaited,
    is_contrib,
    patched,
    running,
    takes_part,
    traced_methods,
    without_contrib,
)
from otelkafka._telemetry.guard import warn

_CLOSING = frozenset(("close", "stop", "__exit__"))
"""The traced methods for which alone no face is made: there is nothing to end, and a dying client calls one, too."""
_MISSING = object()

_making = threading.RLock()
"""Held while a face is made, so that a client has one. Garbage that is collected meanwhile may close another client."""


def _renew_lock() -> None:
    global _making  # noqa: PLW0603 (another thread of the parent may hold the old one, for good)
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class EntryPoints(NamedTuple):
    """How programs choose between two instrumentations of one client library.

    Args:
        library: its distribution.
        contrib: the entry point of opentelemetry-instrumentation-<library>.
        ours: that of otelkafka.
    """

    library: str
    contrib: str
    ours: str


class Patch:
    """The traced methods of one class.

    Args:
        client_class: the class.
        face: traces one of its instances; methods that this release of the client lacks are left out.
        make_face: makes the face of an instance.
        entry_points: by which programs choose between contrib's instrumentation of this library and ours.
    """

    def __init__(
        self,
        client_class: type,
        face: type,
        make_face: Callable[[Any], Any],
        entry_points: EntryPoints = EntryPoints("kafka-python", "kafka", "otelkafka"),  # noqa: B008 (it is immutable)
    ) -> None:
        self._class = client_class
        self._entry_points = entry_points
        self._traced = {name: method for name, method in traced_methods(face).items() if hasattr(client_class, name)}
        self._make_face = make_face
        self._faces: dict[int, Any] = {}  # by the id of a client that lives
        self._before: dict[str, Any] = {}
        self._mine: dict[str, Any] = {}
        self._warned = False

    def apply(self) -> None:
        """Replace the methods of the class by the traced ones."""
        for name, method in self._traced.items():
            self._before[name] = self._class.__dict__.get(name, _MISSING)
            self._mine[name] = self._make_traced(name, getattr(self._class, name), method)
            setattr(self._class, name, self._mine[name])

    def remove(self) -> None:
        """Restore the class. A later patch of another library stays, and the method below it then traces nothing."""
        mine, self._mine = self._mine, {}
        replaced, self._before = self._before, {}
        for name, before in replaced.items():
            present: Any = self._class.__dict__.get(name)
            if is_contrib(present) and present.__wrapped__ is mine[name]:
                present.__wrapped__ = mine[name].__wrapped__
            if present is not mine[name]:
                continue
            patched.discard(present)
            if before is _MISSING:
                delattr(self._class, name)
            else:
                setattr(self._class, name, before)
        for face in list(self._faces.values()):
            face.stop()
        self._faces.clear()

    def face_of(self, client: Any) -> Any:
        """Return the face of a client, from its first call on."""
        found = self._faces.get(id(client))
        if found is None:
            with _making:
                found = self._faces.get(id(client))
                if found is None:
                    found = self._make_face(client)
                    finalize(client, self._faces.pop, id(client), None).atexit = False
                    self._faces[id(client)] = found
        return found

    def _make_traced(self, name: str, own: Any, method: Call) -> Any:
        original = without_contrib(own)
        if original is not own:
            self._warn()

        @wraps(original)
        def traced(client: Any, *args: Any, **kwargs: Any) -> Any:
            face = None
            try:
                if self._is_ours(name) and not (running.get() and takes_part(client, name)):
                    face = self.face_of(client) if name not in _CLOSING or id(client) in self._faces else None
            except Exception:  # noqa: BLE001, S110 (whatever this client is, its call goes on)
                pass
            if face is None:  # and out here, so that what it raises has no other error as its context
                return original(client, *args, **kwargs)
            return method(face, bound(client, name, original), args, kwargs)

        @wraps(original)
        async def traced_awaited(client: Any, *args: Any, **kwargs: Any) -> Any:  # as what is awaited is asked for
            return await traced(client, *args, **kwargs)

        made = traced_awaited if is_awaited(original) else traced
        patched.add(made)
        return made

    def _is_ours(self, name: str) -> bool:
        """Return whether to trace: not after removal, and not inside the other instrumentation's bypassed wrapper."""
        mine = self._mine.get(name)
        if mine is None:
            return False
        present = self._class.__dict__.get(name)
        if present is mine or not is_contrib(present):
            return True
        setattr(self._class, name, mine)
        self._warn()
        return False

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warn_of_both(self._class, self._entry_points)


def warn_of_both(client_class: type, entry_points: EntryPoints) -> None:
    """Warn that contrib's instrumentation and ours both instrument a class."""
    library, contrib, ours = entry_points
    warn(
        "otelkafka and opentelemetry-instrumentation-%s both instrument %s: otelkafka traces. To "
        "choose, set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS to %s, or to %s.",
        library,
        client_class.__name__,
        contrib,
        ours,
    )
