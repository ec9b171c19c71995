"""Frameworks over kafka-python, unchanged, under the instrumentor."""

import operator
from importlib.util import find_spec

import kq
import pytest
from flask import Flask
from kafka import KafkaConsumer, KafkaProducer
from opentelemetry.instrumentation.flask import FlaskInstrumentor

from otelkafka.instrumentor import KafkaInstrumentor
from tests.support.fakes import current
from tests.support.waiting import PATIENCE


@pytest.fixture
def instrumented(recorder):
    KafkaInstrumentor().instrument(tracer_provider=recorder.tracer_provider)
    yield recorder
    KafkaInstrumentor().uninstrument()


@pytest.mark.real_kafka
def test_job_queue(instrumented, broker, topic):
    """kq: a job is one trace from the queue to the worker, and its commit is recorded."""
    producer = KafkaProducer(**broker.client_options)
    queue = kq.Queue(topic, producer)
    job = queue.enqueue(operator.add, 1, 2)
    producer.flush()
    consumer = KafkaConsumer(
        group_id=topic, auto_offset_reset="earliest", metadata_max_age_ms=500, **broker.client_options
    )
    heard = []
    worker = kq.Worker(
        topic, consumer, callback=lambda status, message, job, result, *_: heard.append((status, result))
    )
    assert worker.start(max_messages=1) == 1
    consumer.close()
    producer.close()
    assert heard == [("success", 3)]
    (sent,), (processed,) = instrumented.named(f"send {topic}"), instrumented.named(f"process {topic}")
    assert processed.parent.span_id == sent.context.span_id
    assert sent.attributes["messaging.destination.name"] == job.topic
    (commit,) = instrumented.named(f"commit {topic}")
    assert commit.parent.span_id == processed.context.span_id


@pytest.fixture
def django(broker, monkeypatch):
    """A Django with logpipe, whose offsets are in a database in memory."""
    if find_spec("logpipe") is None:
        pytest.skip("django-logpipe runs on kafka-python 2.3, and Python 3.11 and later")
    import django
    from django.conf import settings
    from django.core.management import call_command

    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["logpipe"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            LOGPIPE={
                "OFFSET_BACKEND": "logpipe.backend.kafka.ModelOffsetStore",
                "CONSUMER_BACKEND": "logpipe.backend.kafka.Consumer",
                "PRODUCER_BACKEND": "logpipe.backend.kafka.Producer",
                "KAFKA_BOOTSTRAP_SERVERS": [broker.bootstrap_servers],
                "KAFKA_CONSUMER_KWARGS": {"group_id": "logpipe", "consumer_timeout_ms": int(PATIENCE * 1000)},
                "KAFKA_KWARGS": {
                    name: value for name, value in broker.client_options.items() if name != "bootstrap_servers"
                },
            },
        )
        django.setup()
        call_command("migrate", verbosity=0)


def test_django_pipe(django, instrumented, topic):
    """django-logpipe: a message is one trace from the producer to the serializer that saves it."""
    import logpipe
    from rest_framework import serializers

    saved = []

    class Question(serializers.Serializer):
        MESSAGE_TYPE, VERSION, KEY_FIELD = "question", 1, "text"
        text = serializers.CharField()

        def save(self, **_):
            saved.append((self.validated_data["text"], current()))

    logpipe.Producer(topic, Question).send({"text": "why?"})
    consumer = logpipe.Consumer(topic)
    consumer.register(Question)
    consumer.run(iter_limit=1)
    consumer.consumer.client.close()
    (sent,), (processed,) = instrumented.wait_for(f"send {topic}"), instrumented.named(f"process {topic}")
    assert processed.parent.span_id == sent.context.span_id
    assert saved == [("why?", processed.context)]


def test_web_application(instrumented, broker, topic):
    """Flask with OpenTelemetry's own instrumentation: the request's span is the send's parent, one trace."""
    producer = KafkaProducer(**broker.client_options)
    app = Flask(__name__)

    @app.post("/ask")
    def ask():
        producer.send(topic, b"question").get(PATIENCE)
        return "asked"

    flask = FlaskInstrumentor()
    flask.instrument_app(app, tracer_provider=instrumented.tracer_provider)
    try:
        assert app.test_client().post("/ask").data == b"asked"
    finally:
        flask.uninstrument_app(app)
        producer.close()
    (sent,) = instrumented.wait_for(f"send {topic}")
    (request,) = instrumented.wait_for("POST /ask")
    assert sent.parent.span_id == request.context.span_id
