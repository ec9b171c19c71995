"""The releases of Apache Kafka that run on the Java of a wheel."""

from __future__ import annotations

import re
from dataclasses import dataclass

OLDEST = (2, 8, 0)
# Before it KRaft was no more than a preview, or its storage had to be prepared in another way.
FIRST_WITHOUT_ZOOKEEPER = (3, 7, 0)
# The last one whose records have no headers. The releases between it and the oldest ask of ZooKeeper's client what
# Java 14 and later answer in another way.
WITHOUT_HEADERS = "0.10.2.2"


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        version: as "4.1.1".
        scala: for which version of Scala its jar is.
        more: coordinates of jars that it took from the Java of its time.
        zookeeper: whether it needs ZooKeeper beside it.
        create_topics: the version of the request that makes topics.

    """

    version: str
    scala: str = "2.13"
    more: tuple[str, ...] = ()
    zookeeper: bool = False
    create_topics: int = 2

    @property
    def coordinate(self) -> str:
        """Maven's, of its jar."""
        return f"org.apache.kafka:kafka_{self.scala}:{self.version}"


def release(version: str) -> Release:
    """Return a release by its version.

    Raises:
        ValueError: no such version can run here.

    """
    if version == WITHOUT_HEADERS:
        return Release(version, "2.11", ("javax.xml.bind:jaxb-api:2.3.1",), zookeeper=True, create_topics=1)
    numbers = tuple(map(int, version.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", version) else ()
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        msg = (
            f'no Apache Kafka {version!r}: the version must be a release such as "4.1.1", {oldest} at least,'
            f" or {WITHOUT_HEADERS}"
        )
        raise ValueError(msg)
    return Release(version, zookeeper=numbers < FIRST_WITHOUT_ZOOKEEPER)
