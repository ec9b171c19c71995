"""Methods of a client's subclass that call traced methods of the client, and thus bypass a wrapper."""

import dis
from collections.abc import Collection, Iterator
from itertools import pairwise
from types import CodeType, FunctionType

_LIBRARIES = frozenset(("kafka", "aiokafka", "confluent_kafka", "cimpl", "otelkafka"))
"""Whose classes are no application's: those of the client libraries, C types among them, and our fakes of them."""
_BUILTINS = {"iter": "__iter__", "next": "__next__", "aiter": "__aiter__", "anext": "__anext__"}


def helpers(client_class: type, traced: Collection[str], wrapped: Collection[str] = ()) -> dict[str, str]:
    """Return the names of such methods, and of the traced one that each calls.

    Args:
        client_class: the class of a client. Only subclasses of the library's class have such methods.
        traced: the names of the traced methods. What overrides one of them is no helper.
        wrapped: the names of methods that call traced methods of the wrapper.
    """
    found: dict[str, str] = {}
    origins = [each.__module__.partition(".")[0] in _LIBRARIES for each in client_class.__mro__]
    own = client_class.__mro__[: origins.index(True)] if True in origins else ()
    for each in own:
        for name, method in vars(each).items():
            if isinstance(method, FunctionType) and name not in (*traced, *wrapped) and not name.startswith("__"):
                called = next(_called(method.__code__, method.__code__.co_varnames[:1], traced), None)
                if called is not None:
                    found.setdefault(name, called)
    return found


def _called(code: CodeType, names_of_self: tuple[str, ...], traced: Collection[str]) -> Iterator[str]:
    """Yield the traced methods that a code object, or a function inside of it, calls of its client."""
    for first, second in pairwise(dis.get_instructions(code)):
        name = second.argval
        if _loads(first, names_of_self):
            if second.opname in {"LOAD_ATTR", "LOAD_METHOD"} and name in traced:
                yield name
            elif second.opname in {"GET_ITER", "GET_YIELD_FROM_ITER"} and "__iter__" in traced:
                yield "__iter__"
            elif second.opname == "GET_AITER" and "__aiter__" in traced:
                yield "__aiter__"
        elif _loads(second, names_of_self) and first.opname == "LOAD_GLOBAL" and _BUILTINS.get(first.argval) in traced:
            yield _BUILTINS[first.argval]
    if "super" in code.co_names:
        yield from (name for name in code.co_names if name in traced)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _called(constant, names_of_self, traced)


def _loads(instruction: dis.Instruction, names: tuple[str, ...]) -> bool:
    """Return whether an instruction loads a local variable of one of these names, as the last where it loads two."""
    name = instruction.argval[-1:] if isinstance(instruction.argval, tuple) else (instruction.argval,)
    return instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and name == names
