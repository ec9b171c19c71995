"""The peers: what each is, and what is known of how it deals with contexts, which the tests hold it to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.interop import drivers

DIRECTIONS = (
    "it sends, otelkafka processes",
    "otelkafka sends, it receives",
    "it forwards, otelkafka forwards, it receives",
    "of two contexts in a record it reads",
    "with a `traceparent` that is no text",
)
SENT, RECEIVED, FORWARDED, READ, BROKEN = DIRECTIONS


@dataclass(frozen=True)
class Peer:
    """A client in some language, and what traces it.

    Attributes:
        name: of both.
        prepare: builds what there is to build in a directory and returns the driver; raises Missing.
        sends: name of the span of a send, None where it makes none.
        receives: name of the span of a record that it takes, None where it makes none.
        links: whether that span links the sender's, instead of being its child.
        adopts: whether its sends are children of the context that it is given.
        continues: whether a record that it forwards stays in its trace.
        reads: which of two contexts in a record it takes, None where it takes none.
        appends: whether it leaves the context that was in the headers before its own.
        survives: whether it hands over a record whose context is no text.
    """

    name: str
    prepare: Callable[[Path], drivers.Driver]
    sends: str | None
    receives: str | None
    links: bool = False
    adopts: bool = True
    continues: bool = True
    reads: str | None = "first"
    appends: bool = False
    survives: bool = True


CONTRIB = {"sends": "{} send", "continues": False, "appends": True, "survives": False}
PEERS = (
    Peer("otelsarama", drivers.otelsarama, sends="{} publish", receives="{} receive"),
    Peer("Java, library", drivers.java_library, sends="{} publish", receives="{} process", reads="last"),
    Peer(
        "Java, agent",
        drivers.java_agent,
        sends="{} publish",
        receives="{} process",
        adopts=False,
        continues=False,
        reads="last",
    ),
    Peer("confluent-kafka", drivers.confluent, **CONTRIB, receives="{} process", links=True),
    Peer("aiokafka", drivers.aiokafka, **CONTRIB, receives="{} receive"),
    Peer("kafka-python", drivers.contrib, **CONTRIB, receives="{} receive"),
    Peer("kcat", drivers.kcat, sends=None, receives=None, reads=None),
)
