"""A FastAPI service and an aiokafka worker are in one trace, which says where the time went."""

import uuid

import pytest

from tests.support.awaiting import awaited

pytestmark = [pytest.mark.once, pytest.mark.real_kafka]


@awaited
async def test_service_and_worker_are_in_one_trace(broker, recorder, monkeypatch):
    """From the request to its answer, for each question; the later ones waited for the worker."""
    pytest.importorskip("fastapi")
    from examples import fastapi_service

    names = {name: f"{name}-{uuid.uuid4().hex}" for name in ("questions", "answers")}
    for name, topic in names.items():
        broker.create_topic(topic)
        monkeypatch.setattr(fastapi_service, name.upper(), topic)
    answers = await fastapi_service.run(recorder, bootstrap_servers=broker.bootstrap_servers)
    assert sorted(answers) == sorted(f"an answer to: {each}" for each in fastapi_service.ASKED)
    asked = recorder.named("POST /questions")
    assert len({span.context.trace_id for span in asked}) == len(asked) == 3
    for request in asked:
        inside = [span for span in recorder.spans if span.context.trace_id == request.context.trace_id]
        children = {span.parent.span_id: span for span in inside if span.parent and not span.name.startswith("commit")}
        path = [request]
        while path[-1].context.span_id in children:
            path.append(children[path[-1].context.span_id])
        assert [span.name for span in path] == [
            "POST /questions",
            f"send {names['questions']}",
            f"process {names['questions']}",
            f"send {names['answers']}",
            f"process {names['answers']}",
        ]
    waits = [span.attributes for span in recorder.named(f"process {names['questions']}")]
    assert waits[-1]["otelkafka.queue.busy_duration"] >= fastapi_service.WORK_SECONDS
    for wait in waits:
        parts = wait["otelkafka.queue.busy_duration"] + wait["otelkafka.queue.fetch_duration"]
        assert parts <= wait["otelkafka.queue.duration"] + 0.001
