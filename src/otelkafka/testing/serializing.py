"""How kafka-python applies what makes bytes of keys and values, and back."""

import inspect
from typing import Any


def apply(maker: Any, method: str, topic: str, headers: Any, part: Any) -> Any:
    """Return what a serializer or deserializer makes of a key or value.

    Args:
        maker: None, a function, or an object with a method of this name.
        method: `serialize` or `deserialize`.
        topic: of the record.
        headers: of the record, which the methods of kafka-python 3 take, and those of older releases do not.
        part: the key or value.
    """
    if maker is None:
        return part
    call = getattr(maker, method, None)
    if call is None:
        return maker(part)
    try:
        inspect.signature(call).bind(topic, headers, part)
    except TypeError:
        return call(topic, part)
    return call(topic, headers, part)
