"""What is kept: how many objects of otelkafka are alive, and how much can be reached from one."""

import gc
from types import FunctionType, ModuleType

OURS = "otelkafka."
FAKES = "otelkafka.testing"
HERE = (ModuleType, FunctionType, type)


def count_alive():
    """How many objects there are of otelkafka's own classes, its fakes left out."""
    gc.collect()
    modules = (type(each).__module__ for each in gc.get_objects())
    return sum(
        module.startswith(OURS) and not module.startswith(FAKES) for module in modules if isinstance(module, str)
    )


def largest_within(*roots):
    """The size of the largest container that can be reached from these objects, OpenTelemetry's among them."""
    seen, waiting, largest = set(), list(roots), 0
    while waiting:
        each = waiting.pop()
        kind = type(each)  # not isinstance(): it asks a proxy for its class, and a weak one may be dead
        if id(each) in seen or issubclass(kind, HERE):
            continue
        seen.add(id(each))
        if issubclass(kind, dict | list | set | tuple | frozenset):
            largest = max(largest, len(each))
        waiting += gc.get_referents(each)
    return largest
