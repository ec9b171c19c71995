"""The configuration of a fake client of aiokafka, and what it has in the place of connections."""

import inspect
from typing import Any


def configured(client: Any, given: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Return the configuration of a client.

    Args:
        client: aiokafka's class.
        given: by the test.
        own: defaults of the fake's own.

    Raises:
        TypeError: the class does not know what is given, as it would raise it itself.
    """
    parameters = inspect.signature(client).parameters.values()
    known = {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    unknown = sorted(set(given) - set(known))
    if unknown:
        msg = f"{client.__name__} of this release does not know {', '.join(unknown)}"
        raise TypeError(msg)
    return {**known, "bootstrap_servers": "localhost:9092", **own, **given}


class FakeConnections:
    """What aiokafka's clients have as their `client`, as far as others read it; there is no cluster behind it.

    Args:
        config: the configuration of the client.
    """

    cluster: None = None

    def __init__(self, config: dict[str, Any]) -> None:
        self._client_id = config["client_id"]
        self._bootstrap_servers = config["bootstrap_servers"]


def apply(maker: Any, part: Any) -> Any:
    """Return what a serializer or deserializer makes of a key or value; aiokafka calls it with None, too."""
    return part if maker is None else maker(part)
