"""gunicorn: the provider is made after the fork, as its thread for exports does not survive one."""

from opentelemetry import trace
from telemetry import set_up

workers = 2


def post_fork(server: object, worker: object) -> None:
    """Set up OpenTelemetry in each worker, before it loads the application."""
    set_up("web")


def worker_exit(server: object, worker: object) -> None:
    """End the sends first, then export their spans."""
    worker.wsgi.extensions["producer"].close()
    trace.get_tracer_provider().shutdown()
