"""A real Zipkin beside the page."""

import json
import time

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import System
from tests.ask.user import fetch
from tests.support.waiting import wait_until


@pytest.mark.usefixtures("zipkin_itself")
def test_each_trace_is_in_zipkin_too():
    """The spans of both services are there under the same trace id, and the page links to it."""
    with System(Options(work=0.01, zipkin=True)) as system:
        ask_all(system)
        system.stop_services()
        found = [trace for trace in system.traces.all() if trace.processed]
        assert len(found) == len(QUESTIONS)
        trace = found[0]
        link = f"{system.zipkin.url}/traces/{trace.trace_id}"
        assert f'href="{link}"' in fetch(f"{system.page_url}/traces/{trace.trace_id}")[1]
        api = system.zipkin.spans_url.removesuffix("/spans")
        spans = json.loads(fetch(f"{api}/trace/{trace.trace_id}")[1])
        assert {span["id"] for span in spans} == {span.span_id for span in trace.spans}
        assert {span["localEndpoint"]["serviceName"] for span in spans} == {"kafka-producer", "kafka-consumer"}
        assert fetch(link)[0] == 200
        assert_kafka_is_in_the_graph(api)
        assert_links_are_tags(found, spans_of(api, found))


def spans_of(api, traces):
    return [span for trace in traces for span in json.loads(fetch(f"{api}/trace/{trace.trace_id}")[1])]


def assert_kafka_is_in_the_graph(api):
    """Both services depend on each other by way of Kafka; the exporter of OpenTelemetry leaves the graph empty."""
    now = int(time.time() * 1000)
    wait_until(
        lambda: edges_of(api, now) >= {("kafka-producer", "kafka"), ("kafka", "kafka-consumer")},
        "the graph",
        lambda: edges_of(api, now),
    )


def edges_of(api, now):
    _, text = fetch(f"{api}/dependencies?endTs={now}&lookback=3600000")
    return {(edge["parent"], edge["child"]) for edge in json.loads(text)}


def assert_links_are_tags(traces, spans):
    """Zipkin has no links: each is a tag, with the record that it leads to and its trace."""
    tags = {
        span["id"]: [text for name, text in span.get("tags", {}).items() if name.startswith("link.")] for span in spans
    }
    linked = [span for trace in traces for span in trace.spans if span.links]
    assert linked
    for span in linked:
        assert len(tags[span.span_id]) == len(span.links)
        assert all(f"trace {link.trace_id}" in " ".join(tags[span.span_id]) for link in span.links)
