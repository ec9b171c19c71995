"""A web server on 127.0.0.1, for the page and for the service behind it."""

import logging
import socket

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler
from werkzeug.serving import make_server as werkzeug_server

HOST = "127.0.0.1"


class PortInUseError(Exception):
    """Another process listens there."""


class _Quiet(WSGIRequestHandler):
    """Writes no line per request: the terminal is for the traces."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


def make_server(app: Flask, port: int) -> BaseWSGIServer:
    """Return a server that listens already; 0 is any free port.

    Raises:
        PortInUseError: the port is not to be had; the message says what to do.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        msg = (
            f"port {port} of {HOST} cannot be had ({error.strerror}): end what listens there, or choose another, --port"
        )
        raise PortInUseError(msg) from error
    with listener:  # the server has a duplicate
        return werkzeug_server(
            HOST, listener.getsockname()[1], app, threaded=True, request_handler=_Quiet, fd=listener.fileno()
        )
