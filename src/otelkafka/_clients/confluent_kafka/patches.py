"""The patches for confluent-kafka, which `ConfluentKafkaInstrumentor` applies when the application has imported it.

`Producer` and `Consumer` are C types, of which no method can be replaced. So a subclass takes the place of their names,
and that is patched, like the subclasses that there are already.
"""

import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial, wraps
from typing import Any, Final
from weakref import finalize, ref

import confluent_kafka
import wrapt
from confluent_kafka import cimpl

from otelkafka._clients.calls import is_contrib, without_contrib
from otelkafka._clients.confluent_kafka.aio import AIOConsumerFace, AIOProducerFace
from otelkafka._clients.confluent_kafka.consumer import ConfluentConsumerFace
from otelkafka._clients.confluent_kafka.facts import configurations, facts_of_configuration
from otelkafka._clients.confluent_kafka.producer import ConfluentProducerFace
from otelkafka._clients.patch import EntryPoints, Patch, warn_of_both
from otelkafka._clients.producer_face import ProduceHook
from otelkafka.options import ConsumerOptions, ProducerOptions

_ENTRY_POINTS: Final = EntryPoints("confluent-kafka", "confluent_kafka", "otelkafka-confluent")
_PACKAGE: Final = "confluent_kafka"
_NAMED_IN: Final = (confluent_kafka.__name__, cimpl.__name__)
"""The modules of confluent-kafka whose names are for applications; the others make clients of their own by them."""
_NOT_REPLACED: Final = (f"{_PACKAGE}.", "otelkafka.", "opentelemetry.")
_PROXIES: Final = ("ProxiedProducer", "ProxiedConsumer")
"""Contrib's, which call a client that may be traced itself."""
_NAMES: Final = ("conf", "producer_conf", "consumer_conf")
"""Of the configuration among the arguments of constructors."""
_ON_COMMIT: Final = "on_commit"
_AIO: Final = ("confluent_kafka.aio", "confluent_kafka.experimental.aio")
"""Where releases have their async clients, if they have any."""
_MISSING: Final[Any] = object()

bare: Final[ContextVar[bool]] = ContextVar("otelkafka_bare", default=False)
"""Whether a client is made for one that is traced itself."""


def patches(
    producing: ProducerOptions,
    consuming: ConsumerOptions,
    produce_hook: ProduceHook | None,
    consume_hook: object = None,  # noqa: ARG001 (`on_process` calls it)
) -> tuple["ClientPatch | AIOPatch", ...]:
    """Return the patches of producers and of consumers.

    Args:
        producing: the options of every producer.
        consuming: those of every consumer.
        produce_hook: called with the span and the arguments of `produce()` before it is called.
        consume_hook: what `on_process` calls, which is all of it here.
    """

    def make_producer(producer: Any, client_class: type) -> ConfluentProducerFace:
        return ConfluentProducerFace(producer, producing, produce_hook, client_class)

    def make_consumer(consumer: Any, client_class: type) -> ConfluentConsumerFace:
        reports = _reports.get(id(consumer))
        is_reported = reports is not None
        face = ConfluentConsumerFace(consumer, consuming, None, client_class, commits_reported=is_reported)
        if reports is not None:
            reports.face = ref(face)
        return face

    return (
        ClientPatch(cimpl.Producer, ConfluentProducerFace, make_producer),
        ClientPatch(cimpl.Consumer, ConfluentConsumerFace, make_consumer),
        *(AIOPatch(module, producing, consuming, produce_hook) for module in _AIO),
    )


class ClientPatch:
    """The traced methods of all classes of a C type's clients.

    Args:
        original: the C type.
        face: traces one of its instances.
        make_face: makes the face of an instance, whose methods of this class are traced.
    """

    def __init__(self, original: type, face: type, make_face: Callable[[Any, type], Any]) -> None:
        self._original = original
        self._face = face
        self._make_face = make_face
        self._patches: dict[type, Patch] = {}
        self._configured: list[_Configured] = []
        self._put_aside: list[_PutAside] = []

    def apply(self) -> None:
        """Patch the existing subclasses, and replace the names of the C type by a patched subclass."""
        traced = _traced_class(self._original)
        direct: list[type] = self._original.__subclasses__()
        direct = [each for each in direct if _replaces(each) is None]
        for each in (traced, *direct):
            if _is_to_patch(each):
                self._patch(each)
        _rename(self._original, traced)

    def _patch(self, client_class: type) -> None:
        patch = Patch(client_class, self._face, partial(_make_for, self._make_face, client_class), _ENTRY_POINTS)
        patch.apply()
        self._patches[client_class] = patch
        self._configured.append(_Configured(client_class, self._adopt))

    def _adopt(self, client: Any) -> None:
        """Set contrib's wrappers aside in a subclass that was made after the patch."""
        for each in type(client).__mro__:
            if _is_contrib(each) and each not in self._patches:
                self._put_aside += [_PutAside(each, name) for name in vars(each) if is_contrib(vars(each)[name])]

    def remove(self) -> None:
        """Leave classes and names as they were."""
        _rename(_traced_class(self._original), self._original)
        for patch in self._patches.values():
            patch.remove()
        for configured in self._configured:
            configured.remove()
        for wrapper in self._put_aside:
            wrapper.remove()
        self._patches, self._configured, self._put_aside = {}, [], []


class AIOPatch:
    """The traced methods of the async clients, from the moment that the application imports them.

    Args:
        module: that has them.
        producing: the options of every producer.
        consuming: those of every consumer.
        produce_hook: called with the span and the arguments of `produce()` before it is called.
    """

    def __init__(
        self, module: str, producing: ProducerOptions, consuming: ConsumerOptions, produce_hook: ProduceHook | None
    ) -> None:
        self._module = module
        self._make: dict[str, tuple[type, Callable[[Any, Any], Any]]] = {
            "AIOProducer": (AIOProducerFace, lambda client, own: AIOProducerFace(client, producing, produce_hook, own)),
            "AIOConsumer": (AIOConsumerFace, lambda client, own: AIOConsumerFace(client, consuming, None, own)),
        }
        self._patches: list[Any] = []
        self._is_removed = False

    def apply(self) -> None:
        """Patch the classes that are there, or will be."""
        wrapt.register_post_import_hook(self._apply, self._module)

    def _apply(self, module: Any) -> None:
        if self._is_removed:
            return
        for name, (face, make_face) in self._make.items():
            client_class = getattr(module, name, None)
            if client_class is not None:
                patch = Patch(client_class, face, partial(_make_for, make_face, client_class), _ENTRY_POINTS)
                patch.apply()
                self._patches += [patch, _Configured(client_class, lambda _: None, is_async=True)]

    def remove(self) -> None:
        """Leave the classes as they were."""
        self._is_removed = True
        for patch in self._patches:
            patch.remove()


def _make_for(make_face: Callable[[Any, type], Any], client_class: type, client: Any) -> Any:
    return make_face(client, client_class)


class _PutAside:
    """A method of contrib's without its wrapper: what it calls is traced.

    Args:
        client_class: contrib's.
        name: the name of the method.
    """

    def __init__(self, client_class: type, name: str) -> None:
        self._class = client_class
        self._name = name
        self._before = vars(client_class)[name]
        self._mine = without_contrib(self._before)
        setattr(client_class, name, self._mine)
        warn_of_both(client_class, _ENTRY_POINTS)

    def remove(self) -> None:
        """Put the wrapper back, unless other code has changed the method since."""
        if vars(self._class).get(self._name) is self._mine:
            setattr(self._class, self._name, self._before)


def _is_contrib(client_class: type) -> bool:
    return client_class.__module__.startswith("opentelemetry.instrumentation.confluent_kafka")


def _is_to_patch(client_class: type) -> bool:
    """Return whether a subclass is to be patched: not contrib's proxies, which call a client that may be traced."""
    return not (_is_contrib(client_class) and client_class.__name__ in _PROXIES)


class _Replacing(ABCMeta):
    """The metaclass of a class that replaces a C type: instances of the C type are instances of the class.

    It is an `ABCMeta`, so that a subclass may have other bases of such a class.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether it is an instance of the C type, for the class that stands in its place."""
        original = _replaces(cls)
        return super().__instancecheck__(instance) if original is None else isinstance(instance, original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        """Return whether it is a subclass of the C type, likewise."""
        original = _replaces(cls)
        return super().__subclasscheck__(subclass) if original is None else issubclass(subclass, original)


def _replaces(client_class: Any) -> Any:
    """Return the C type that a class replaces; None for a subclass."""
    return vars(client_class).get("_otelkafka_original")


@cache
def _traced_class(original: Any) -> Any:
    """Return the subclass of a C type that can be patched, and looks like it."""
    names = ("__module__", "__doc__", "__qualname__")
    known: dict[str, Any] = {name: getattr(original, name) for name in names}

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        is_bare = cls is traced and bare.get()
        return original(*args, **kwargs) if is_bare else original.__new__(cls, *args, **kwargs)

    traced = _Replacing(original.__name__, (original,), {**known, "__new__": new, "_otelkafka_original": original})
    return traced


def _rename(present: type, replacement: type) -> None:
    """Replace a class by another one in each module that has a name for it."""
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", None)
        if not isinstance(name, str) or (name.startswith(_NOT_REPLACED) and name not in _NAMED_IN):
            continue
        for attribute in _names_of(module, present):
            setattr(module, attribute, replacement)


def _names_of(module: Any, wanted: type) -> Iterator[str]:
    try:
        present = list(vars(module).items())
    except Exception:  # noqa: BLE001 (what stands in sys.modules may be anything)
        return
    for name, value in present:
        if value is wanted:
            yield name


class _Configured:
    """A class that remembers the configuration of its clients.

    Args:
        client_class: the class.
        adopt: called with each client that has been made.
        is_async: whether it makes a client inside of it, which is not traced.
    """

    def __init__(self, client_class: type, adopt: Callable[[Any], None], *, is_async: bool = False) -> None:
        self._class = client_class
        self._before: Any = vars(client_class).get("__init__", _MISSING)
        own: Any = client_class.__init__  # type: ignore[misc]

        @wraps(own)
        def init(client: Any, *args: Any, **kwargs: Any) -> None:
            given, reports = _configuration(args, kwargs), None
            if given and args and args[0] is given and not is_async and callable(given.get(_ON_COMMIT)):
                reports = CommitReports(given[_ON_COMMIT])
                args = ({**given, _ON_COMMIT: reports}, *args[1:])
            token = bare.set(is_async)
            try:
                own(client, *args, **kwargs) if kwargs else own(client, *args)
            finally:
                bare.reset(token)
            with suppress(Exception):  # a subclass whose slots leave no room for a weak reference is not traced
                if given is not None:
                    _remember(client, configurations, facts_of_configuration({**given, **kwargs}))
                if reports is not None:
                    _remember(client, _reports, reports)
                adopt(client)

        self._mine = init
        client_class.__init__ = init  # type: ignore[misc]

    def remove(self) -> None:
        """Leave the class as it was, unless other code has changed it since."""
        if vars(self._class).get("__init__") is not self._mine:
            return
        if self._before is _MISSING:
            del self._class.__init__  # type: ignore[misc]
        else:
            self._class.__init__ = self._before  # type: ignore[misc]


class CommitReports:
    """The callback for commits of a consumer that has one; librdkafka calls it from `poll()`.

    Args:
        callback: the user's, which is called first.

    Attributes:
        face: returns what traces the consumer, None for none.
    """

    def __init__(self, callback: Callable[[Any, Any], Any]) -> None:
        self._callback = callback
        self.face: Callable[[], ConfluentConsumerFace | None] = _get_none

    def __call__(self, error: Any, partitions: Any) -> Any:
        """Call the user's callback, and note the commit."""
        try:
            return self._callback(error, partitions)
        finally:
            face = self.face()
            if face is not None:
                face.committed(error, partitions)


_reports: Final[dict[int, CommitReports]] = {}
"""The callbacks for commits of consumers that live, by their ids."""


def _remember(client: Any, known: dict[int, Any], what: Any) -> None:
    key = id(client)
    finalize(client, known.pop, key, None).atexit = False
    known[key] = what


def _configuration(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration among the arguments of a constructor; None where it takes others."""
    if args:
        return args[0] if isinstance(args[0], dict) else None
    given = next((kwargs[name] for name in _NAMES if name in kwargs), kwargs)
    return given if isinstance(given, dict) and given else None


def _get_none() -> None:
    return None
