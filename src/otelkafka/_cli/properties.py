"""Client settings in a properties file, as Kafka's own tools and librdkafka's have them, for kafka-python."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_JAAS: Final = re.compile(r"""(username|password)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))""")


def _endpoint_check(value: str) -> dict[str, Any]:
    return {"ssl_check_hostname": value.strip().lower() == "https"}


def _jaas(value: str) -> dict[str, Any]:
    found = {name: double or single or bare for name, double, single, bare in _JAAS.findall(value)}
    names = {"username": "sasl_plain_username", "password": "sasl_plain_password"}
    return {names[name]: re.sub(r"\\(.)", r"\1", text) for name, text in found.items()}


def _named(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda value: {name: value}


SETTINGS: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "bootstrap.servers": _named("bootstrap_servers"),
    "client.id": _named("client_id"),
    "security.protocol": lambda value: {"security_protocol": value.upper()},
    "sasl.mechanism": _named("sasl_mechanism"),
    "sasl.mechanisms": _named("sasl_mechanism"),
    "sasl.username": _named("sasl_plain_username"),
    "sasl.password": _named("sasl_plain_password"),
    "sasl.jaas.config": _jaas,
    "sasl.kerberos.service.name": _named("sasl_kerberos_service_name"),
    "ssl.ca.location": _named("ssl_cafile"),
    "ssl.truststore.location": _named("ssl_cafile"),
    "ssl.certificate.location": _named("ssl_certfile"),
    "ssl.keystore.location": _named("ssl_certfile"),
    "ssl.key.location": _named("ssl_keyfile"),
    "ssl.key.password": _named("ssl_password"),
    "ssl.endpoint.identification.algorithm": _endpoint_check,
}
"""What is understood; a store must be a PEM file, which is what kafka-python reads."""


def read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the settings for kafka-python, and the names of those that mean nothing to it.

    Args:
        path: the path of the file.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is no setting, or a store is not in the PEM format.
    """
    settings: dict[str, Any] = {}
    unknown = []
    for name, value in _lines(path.read_text()):
        if name.endswith("store.location") and not value.endswith(".pem"):
            msg = f"{path.name}: {name} is no .pem file: convert the store, keytool and openssl do it"
            raise ValueError(msg)
        if name in SETTINGS:
            settings.update(SETTINGS[name](value))
        else:
            unknown.append(name)
    return settings, unknown


def _lines(text: str) -> Iterator[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", text)
    for number, line in enumerate(joined.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#!":
            continue
        name, *value = re.split(r"\s*[=:]\s*", stripped, maxsplit=1)
        if not value:
            msg = f"line {number} is no setting: write name=value"
            raise ValueError(msg)
        yield name, value[0]
