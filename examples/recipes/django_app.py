"""Django: a view that sends, with one producer for each process."""

import os
from functools import cache

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from kafka import KafkaProducer
from opentelemetry.instrumentation.django import DjangoInstrumentor

from otelkafka import TracedProducer, wrap_producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "questions")

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.environ.get("SECRET_KEY", "for tests"))
DjangoInstrumentor().instrument()  # in a project: in manage.py and wsgi.py, after the settings


@cache
def producer() -> TracedProducer:
    """Return the process's producer, which is made at the first request: after any fork."""
    return wrap_producer(KafkaProducer(bootstrap_servers=SERVERS))


def ask(request: HttpRequest) -> JsonResponse:
    """Send the question, and answer when the broker has it."""
    sent = producer().send(TOPIC, request.GET["question"].encode()).get(timeout=10)
    return JsonResponse({"offset": sent.offset}, status=201)


urlpatterns = [path("questions", ask)]
application = get_wsgi_application()
