"""Jars of Java programs: downloaded once by jgo, a Maven resolver in Python, then found without it and the network."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbroker.broker import BrokerUnavailable
from testbroker.progress import Progress
from testbroker.releases import release

if TYPE_CHECKING:
    from collections.abc import Iterable

CACHE_VARIABLE = "OTELKAFKA_CACHE"
REPOSITORY_VARIABLE = "OTELKAFKA_MAVEN_REPOSITORY"
MANIFEST = "jars.txt"
STAGING = "download-"
ABANDONED_AFTER = 3600.0
REACH_TIMEOUT = 5.0
DOWNLOADS_AT_ONCE = 8


class KafkaNotInstallable(BrokerUnavailable):
    """What Apache Kafka needs to run here cannot be had."""


@dataclass(frozen=True)
class Program:
    """A Java program in a Maven repository.

    Attributes:
        name: to print, with its version.
        directory: its name in the cache.
        coordinate: Maven's, as "group:artifact:version" or "group:artifact:version:classifier".
        whole: whether that jar has all that it needs in it.
        instead: what to do where it cannot be had.
        more: coordinates of single jars that it needs beside those that its description names.

    """

    name: str
    directory: str
    coordinate: str
    whole: bool
    instead: str
    more: tuple[str, ...] = ()

    @property
    def description_path(self) -> str:
        """Where in the repository its description lies."""
        group, artifact, version = self.coordinate.split(":")[:3]
        return f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.pom"


def kafka_jars(version: str) -> Path:
    """Return the directory with all jars of a release of Apache Kafka, as `jars_of` does.

    Raises:
        KafkaNotInstallable: they are not there and cannot be downloaded.
        ValueError: no such version can run here.

    """
    chosen = release(version)
    instead = "KAFKA_BOOTSTRAP_SERVERS to a broker that runs already, or OTELKAFKA_BROKER=embedded"
    name, directory = f"Apache Kafka {version}", f"kafka-{version}"
    return jars_of(Program(name, directory, chosen.coordinate, whole=False, instead=instead, more=chosen.more))


def jars_of(program: Program) -> Path:
    """Return the directory with all jars of a program, downloading them if they are not there.

    They are kept in `OTELKAFKA_CACHE`, else in `otelkafka` in the user's cache directory, and come from the Maven
    repository at `OTELKAFKA_MAVEN_REPOSITORY`, else from jgo's own default.

    Raises:
        KafkaNotInstallable: they are not there and cannot be downloaded.

    """
    jars = cache() / program.directory
    if not _complete(jars):
        _download(program, jars)
    return jars


def cache() -> Path:
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otelkafka"


def _complete(jars: Path) -> bool:
    manifest = jars / MANIFEST
    return manifest.exists() and all((jars / name).exists() for name in manifest.read_text().splitlines())


def _download(program: Program, jars: Path) -> None:
    repository = _repository()
    _check_reachable(repository, program)
    jars.parent.mkdir(parents=True, exist_ok=True)
    _sweep(jars.parent)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=jars.parent) as staging:
        downloaded = Path(staging) / "jars"
        downloaded.mkdir()
        try:
            _fetch(program, repository, Path(staging) / "repository", downloaded)
        except Exception as error:  # jgo lets through what requests, its XML parser and its own checks raise
            problem = f"{type(error).__name__}: {error}"
            reason = f"{program.name} could not be downloaded from {repository} ({problem})"
            raise _not_installable(program, reason) from error
        _put_in_place(downloaded, jars)


def _sweep(cache: Path) -> None:
    """Remove what downloads that were killed have left."""
    for leftover in cache.glob(f"{STAGING}*"):
        if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(leftover, ignore_errors=True)


def _repository() -> str:
    try:
        from jgo.constants import MAVEN_CENTRAL_URL  # needed for the first download only
    except ImportError as error:
        reason = "the package jgo, which downloads Java programs, is not installed"
        raise KafkaNotInstallable(reason, "Install it: pip install 'jgo>=3'.") from error
    return (os.environ.get(REPOSITORY_VARIABLE) or str(MAVEN_CENTRAL_URL)).rstrip("/")


def _check_reachable(repository: str, program: Program) -> None:
    """Find out in seconds what jgo would find out in minutes."""
    answers: list[Any] = []
    # A thread, because no timeout of requests bounds the look-up of the host's name.
    thread = threading.Thread(target=lambda: answers.append(_probe(repository, program)), daemon=True)
    thread.start()
    thread.join(REACH_TIMEOUT + 1)
    problem = answers[0] if answers else "no answer"
    if problem:
        reason = f"{program.name} is not cached and cannot be had from {repository} ({problem})"
        raise _not_installable(program, reason)


def _probe(repository: str, program: Program) -> str | None:
    import requests  # it comes with jgo

    try:
        status = requests.get(f"{repository}/{program.description_path}", timeout=REACH_TIMEOUT).status_code
    except (OSError, ValueError) as error:
        return type(error).__name__
    return None if status == requests.codes.ok else f"HTTP status {status}"


def _not_installable(program: Program, reason: str) -> KafkaNotInstallable:
    remedy = f"Connect to the network, set {REPOSITORY_VARIABLE} to the URL of a mirror, {program.instead}."
    return KafkaNotInstallable(reason, remedy)


def _fetch(program: Program, repository: str, local_repository: Path, target: Path) -> None:
    from jgo.maven import MavenContext, PythonResolver  # needed for the first download only

    with Progress(f"{program.name} from {repository}, once") as progress:
        resolver = PythonResolver(progress_callback=progress.file)
        context = MavenContext(resolver, local_repository, remote_repos={"repository": repository})
        artifacts = _artifacts(context, program)
        progress.expect(len(artifacts))
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            for jar in pool.map(lambda artifact: artifact.resolve(), artifacts):
                _check_jar(jar)
                shutil.move(jar, target)


def _artifacts(context: Any, program: Program) -> list[Any]:  # jgo is imported late
    dependency = _dependency(context, program.coordinate)
    if program.whole:
        return [dependency.artifact]
    inputs, transitive = context.resolver.resolve([dependency])
    found = [dependency.artifact for dependency in (*inputs, *transitive)]
    more = [_dependency(context, coordinate).artifact for coordinate in program.more]
    return [*found, *more, *_logging(context, found)]


def _logging(context: Any, artifacts: Iterable[Any]) -> list[Any]:
    """Add what prints the log of a program that has one: without it a node of Kafka that fails to start says nothing."""
    versions = [artifact.version for artifact in artifacts if artifact.artifactId == "slf4j-api"]
    return [_dependency(context, f"org.slf4j:slf4j-simple:{version}").artifact for version in versions]


def _dependency(context: Any, coordinate: str) -> Any:
    from jgo.parse import Coordinate  # needed for the first download only

    return context.create_dependency(Coordinate.parse(coordinate))


def _check_jar(jar: Path) -> None:
    if not zipfile.is_zipfile(jar):
        msg = f"{jar.name} came damaged"
        raise ValueError(msg)


def _put_in_place(downloaded: Path, jars: Path) -> None:
    (downloaded / MANIFEST).write_text("\n".join(sorted(path.name for path in downloaded.iterdir())))
    try:
        downloaded.replace(jars)
    except OSError:
        if _complete(jars):
            return  # another process was faster
        shutil.rmtree(jars, ignore_errors=True)
        downloaded.replace(jars)
