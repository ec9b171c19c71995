"""A real Zipkin beside the page."""

import json

import pytest

from examples.ask.__main__ import QUESTIONS, ask_all
from examples.ask.options import Options
from examples.ask.system import System
from tests.ask.user import fetch


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
