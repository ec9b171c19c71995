"""Hostile input: whatever comes in with a record, no exception comes of it, no record is lost, and the work is bounded."""

import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelkafka import extract, inject
from tests.support import hostile
from tests.support.fakes import TRACEPARENT, consumer_of, record
from tests.support.internals import LONGEST_VALUE

pytestmark = pytest.mark.per_telemetry

MEGABYTE = 1 << 20
PATTERNS = (b"a=b,", b"k=" + b"v" * 200 + b",", b" ", b", ", b"=", b"%41", b"\xc3\xa9", b"\xff", b"00-", b"0")
NEARLY = (
    b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
    b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
    TRACEPARENT[1].upper(),
    TRACEPARENT[1] + b"\n",
    TRACEPARENT[1] + b"-more",
    b"01" + TRACEPARENT[1][2:] + b"-more",
    b"ff" + TRACEPARENT[1][2:],
    TRACEPARENT[1][:-1] + b"g",
    b" " + TRACEPARENT[1],
    TRACEPARENT[1].replace(b"-", b"_"),
)
KEYS = st.one_of(st.sampled_from(hostile.KEYS), st.text(max_size=5))
VALUES = st.one_of(
    st.binary(max_size=80),
    st.none(),
    st.text(max_size=5),
    st.sampled_from((TRACEPARENT[1], *NEARLY)),
    st.builds(lambda at, part: TRACEPARENT[1][:at] + part, st.integers(0, 55), st.binary(max_size=8)),
    st.builds(lambda pattern, count: pattern * count, st.sampled_from(PATTERNS), st.integers(0, 4000)),
)
HEADERS = st.lists(st.one_of(st.tuples(KEYS, VALUES), st.tuples(KEYS), st.none(), st.binary(max_size=3)), max_size=12)


@pytest.fixture(autouse=True)
def _quiet():
    """OpenTelemetry says of each broken header what is wrong with it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=150, deadline=None)
@given(headers=st.one_of(HEADERS, HEADERS.map(tuple)), key=VALUES, value=VALUES)
def test_any_headers_key_and_value_pass(headers, key, value):
    """A record comes out as it is and goes on as it is; the fast path reads what the propagators read."""
    hostile.check(headers, key, value)


@pytest.mark.parametrize("value", NEARLY)
def test_traceparent_that_is_nearly_valid_is_read_as_the_propagators_read_it(value):
    """Alone, and after a valid one."""
    hostile.check([("traceparent", value)])
    hostile.check([TRACEPARENT, ("traceparent", value)])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=500))
def test_any_bytes_pass(data):
    """The same for what the fuzzer makes of any bytes."""
    hostile.check(hostile.headers_from(data), key=data[:8], value=data[8:])


@pytest.mark.parametrize("guided", [True, False] if find_spec("atheris") else [False])
def test_fuzzer_runs(guided):
    """The fuzzer finds nothing in a moment, and says so."""
    without = "" if guided else "sys.modules['atheris'] = None; "
    code = (
        f"import sys; {without}sys.argv[1:] = ['1']; import runpy; runpy.run_module('tests.fuzz', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing found" in done.stdout or "Done" in done.stderr  # as atheris has it


def work_of(call, *args):
    """How many functions a call calls: what it costs, whatever else the machine is doing."""
    calls = 0

    def count(_, event, __):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call(*args)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("key", hostile.FIELDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_megabytes_of_context_cost_no_more_than_a_few(key, pattern):
    """What is too long for a context is not even given to a propagator."""
    small, large = (
        [TRACEPARENT, (key, pattern * (size // len(pattern)))] for size in (2 * LONGEST_VALUE, 4 * MEGABYTE)
    )
    hostile.check(large)
    for call in (extract, inject):
        assert work_of(call, large) <= work_of(call, small) + 100


@pytest.mark.parametrize("header", [("x", b"y"), *((key, b"\xff") for key in hostile.FIELDS), ("tracestate", b"a=b")])
def test_ten_thousand_headers_cost_in_proportion(header):
    """Ten times the headers are at most about ten times the work."""
    few, many = [TRACEPARENT, *[header] * 1000], [TRACEPARENT, *[header] * 10_000]
    hostile.check(many)
    for call in (extract, inject):
        assert work_of(call, many) <= 11 * work_of(call, few)


def test_context_that_is_too_long_is_counted_and_not_logged(recorder, metrics, caplog):
    """OpenTelemetry would log the whole of it, for each record."""
    logging.disable(logging.NOTSET)
    headers = [TRACEPARENT, ("baggage", b"secret=" + b"s" * 8192)]  # as OpenTelemetry has it
    list(consumer_of(recorder, record(0, headers=headers), meter_provider=metrics.meter_provider))
    assert metrics.points("otelkafka.telemetry.dropped") == [({"otelkafka.drop.reason": "header"}, 1)]
    assert not caplog.records
    (span,) = recorder.spans
    assert f"{span.parent.trace_id:032x}" in TRACEPARENT[1].decode()
