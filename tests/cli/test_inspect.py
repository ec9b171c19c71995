"""What `otelkafka inspect` shows of a topic: on a broker, in JSON and in tables, and what it says where it cannot."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, errors
from rich import console as rich_console

import otelkafka
from tests.support import internals
from tests.support.fakes import SPAN_ID, TRACE_ID, TRACEPARENT, record
from tests.support.waiting import PATIENCE, wait_until

cli = internals.cli()
command, console, finding, properties, reader = cli.command, cli.console, cli.finding, cli.properties, cli.reader

pytestmark = pytest.mark.per_client
UNSAMPLED = ("traceparent", TRACEPARENT[1][:-2] + b"02")


def found(*headers, wanted=(), **fields):
    return finding.finding_of(record(0, headers=list(headers), **fields), time.time(), wanted)


def test_context_is_taken_apart():
    one = found(TRACEPARENT, ("tracestate", b"vendor=x"), ("baggage", b"tenant=blue,user=7"), ("other", b"secret"))
    assert (one.version, one.trace_id, one.parent_id, one.sampled) == ("00", TRACE_ID, SPAN_ID, True)
    assert (one.tracestate, one.baggage, one.problems) == ("vendor=x", ("tenant", "user"), ())
    assert "secret" not in str(one)
    assert "blue" not in str(one)
    assert not found(UNSAMPLED).sampled
    assert found(UNSAMPLED).random


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ([], finding.NO_CONTEXT),
        ([("x", b"y"), "junk"], finding.NO_CONTEXT),
        ([("traceparent", b"00-junk")], finding.BROKEN),
        ([("traceparent", None)], finding.BROKEN),
        ([("traceparent", b"\xff")], finding.BROKEN),
        ([("b3", b"0")], finding.OTHER_FORMAT),
        ([("X-B3-TraceId", b"0")], finding.OTHER_FORMAT),
        ([UNSAMPLED, TRACEPARENT], finding.DUPLICATES),
    ],
)
def test_problems_are_named(headers, problem):
    assert found(*headers).problems == (problem,)


def test_the_last_of_several_contexts_counts():
    assert found(UNSAMPLED, TRACEPARENT).sampled


def test_asked_headers_are_shown():
    headers = [("x", b"1"), ("x", b"\xff"), ("x", None), ("y", b"2")]
    assert found(*headers, wanted=["x"]).headers == {"x": ["1", "\\xff", "None"]}


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "baggage", "x"]), st.binary() | st.none())))
def test_whatever_is_in_the_headers_is_shown(headers):
    assert json.dumps(command.asdict(found(*headers)))


def test_age_is_that_of_the_timestamp():
    now = time.time()
    assert finding.finding_of(record(0, timestamp=int(now * 1000) - 5000), now).age == pytest.approx(5, abs=0.01)
    assert finding.finding_of(record(0, timestamp=-1), now).age is None
    assert [console.age_of(each) for each in (None, 3, 90, 7200, 200_000)] == ["", "3 s", "2 min", "2 h", "2 d"]


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (None, "(no key)"),
        (b"order-17", "order"),
        ("user:3", "user"),
        (b"-", "(other)"),
        (7, "7"),
        (b"\xff\xfe", "(other)"),
    ],
)
def test_keys_are_distinguished_by_their_first_word(key, prefix):
    assert finding.prefix_of(key) == prefix


def test_summary_shares():
    summary = finding.Summary()
    for headers, key in (([TRACEPARENT], b"a-1"), ([UNSAMPLED], b"a-2"), ([], b"b-1")):
        summary.add(found(*headers), key)
    recorded = summary.as_json()
    assert (recorded["records"], recorded["with_context"], recorded["sampled"]) == (3, 2, 1)
    assert recorded["key_prefixes"]["b"] == {"records": 1, "with_context": 0, "sampled": 0}
    assert recorded["problems"] == {finding.NO_CONTEXT: 1}


def test_start_is_a_word_a_number_or_a_time():
    assert [reader.start_of(each) for each in ("beginning", "end", "-7", "7")] == ["beginning", "end", 7, 7]
    assert reader.start_of("2026-11-25T10:00").isoformat() == "2026-11-25T10:00:00+00:00"
    assert reader.start_of("2026-11-25T10:00:00Z") == reader.start_of("2026-11-25T11:00:00+01:00")
    with pytest.raises(ValueError, match="'yesterday' is none of beginning, end, a number of records"):
        reader.start_of("yesterday")


def test_properties_of_java_and_of_librdkafka(tmp_path):
    path = tmp_path / "client.properties"
    path.write_text(
        "# of Kafka's tools\nbootstrap.servers=one:9092,two:9092\nsecurity.protocol = sasl_ssl\nsasl.mechanism: PLAIN\n\n"
        'sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  username="me" password="a\\"b";\n'
        "ssl.truststore.location=/ca.pem\nssl.endpoint.identification.algorithm=\nacks=all\n"
    )
    settings, unknown = properties.read(path)
    assert settings == {
        "bootstrap_servers": "one:9092,two:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": 'a"b',
        "ssl_cafile": "/ca.pem",
        "ssl_check_hostname": False,
    }
    assert unknown == ["acks"]


@pytest.mark.parametrize("text", ["ssl.truststore.location=/store.jks", "no setting"])
def test_properties_that_are_of_no_use_are_refused(tmp_path, capsys, text):
    path = tmp_path / "client.properties"
    path.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        command.main(["inspect", "t", "--config", str(path)])
    assert "write name=value" in capsys.readouterr().err or "store" in text


@pytest.fixture
def filled(bare_producer, topic):
    for at, headers in enumerate([[TRACEPARENT], [UNSAMPLED], [], [UNSAMPLED, TRACEPARENT]]):
        bare_producer.send(topic, b"v", key=b"order-%d" % at, headers=headers)
    bare_producer.flush()
    return topic


def inspect(broker, *arguments):
    return command.main(["inspect", "--bootstrap-servers", broker.bootstrap_servers, *arguments])


def test_a_pipe_gets_a_line_of_json_for_each_record(broker, filled, capsys):
    assert inspect(broker, filled) == 0
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [each["sampled"] for each in lines] == [True, False, None, True]
    assert [each["offset"] for each in lines] == [0, 1, 2, 3]
    assert last["summary"]["partitions"] == {"0": {"records": 4, "with_context": 3, "sampled": 2}}
    assert last["summary"]["problems"] == {finding.NO_CONTEXT: 1, finding.DUPLICATES: 1}


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        (["--from", "beginning", "--limit", "2"], [0, 1]),
        (["--from", "1"], [3]),
        (["--from", "end"], []),
        (["--from", "2000-01-01"], [0, 1, 2, 3]),
        (["--from", "2100-01-01"], []),
    ],
)
def test_where_to_start_and_when_to_stop(broker, filled, capsys, arguments, offsets):
    assert inspect(broker, filled, *arguments) == 0
    *lines, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert [each["offset"] for each in lines] == offsets


def test_a_terminal_gets_tables(broker, filled, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(rich_console, "Console", lambda: rich_console_of(screen))
    assert inspect(broker, filled, "--header", "traceparent") == 0
    shown = screen.getvalue()
    for part in (
        TRACE_ID,
        SPAN_ID,
        "sampled",
        "order",
        "no context",
        "4 records: 75 % carry a context, 66.7 % of these",
    ):
        assert part in shown


_Console = rich_console.Console


def rich_console_of(screen):
    return _Console(file=screen, width=200, force_terminal=False)


def test_it_joins_no_group_and_commits_nothing(broker, filled, capsys, monkeypatch):
    made = []
    make = lambda **config: made.append(config) or KafkaConsumer(**config)
    monkeypatch.setattr(reader, "KafkaConsumer", make)
    inspect(broker, filled)
    assert made[0]["group_id"] is None
    assert made[0]["enable_auto_commit"] is False


def test_a_topic_that_is_not_there_is_reported_with_those_alike(broker, filled, capsys):
    assert inspect(broker, filled[:-1]) == 1
    assert f"did you mean {filled}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.KafkaTimeoutError("late"), "check --bootstrap-servers"),
        (errors.TopicAuthorizationFailedError(), "READ"),
        (errors.IllegalStateError("odd"), "odd"),
    ],
)
def test_errors_say_what_to_do(monkeypatch, capsys, error, advice):
    def refuse(**_):
        raise error

    monkeypatch.setattr(reader, "KafkaConsumer", refuse)
    assert command.main(["inspect", "t"]) == 1
    assert advice in capsys.readouterr().err


def test_arguments_that_are_wrong_end_with_2(capsys):
    for wrong in (["--limit", "0"], ["--from", "yesterday"], ["--config", "nowhere.properties"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(["inspect", "t", *wrong])


def test_without_rich_there_is_json(broker, filled, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, console.__name__, None)
    assert inspect(broker, filled) == 0
    recorded = capsys.readouterr()
    assert json.loads(recorded.out.splitlines()[-1])["summary"]
    assert "otelkafka[inspect]" in recorded.err


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--version"])
    assert capsys.readouterr().out == f"otelkafka {otelkafka.__version__}\n"


def test_summary_alone_is_one_object_for_jq(broker, filled, capsys):
    assert inspect(broker, filled, "--summary") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["records"] == 4


@pytest.mark.parametrize("follows", [False, True])
def test_summary_alone_is_shown_without_the_records(monkeypatch, follows):
    screen = io.StringIO()
    monkeypatch.setattr(rich_console, "Console", lambda: rich_console_of(screen))
    shown, summary, one = console.Console(records=False), finding.Summary(), found(TRACEPARENT)
    summary.add(one, None)
    shown.expect(None if follows else 1)
    shown.show(one)
    shown.end(summary)
    assert TRACE_ID not in screen.getvalue()
    assert "1 records: 100 %" in screen.getvalue()


def test_a_kafka_that_does_not_answer_is_announced_before_it_is_given_up(monkeypatch, capsys):
    """The line comes while the client still tries, and names what it tries."""
    seen = []

    def wait_for_the_line(**_):
        wait_until(lambda: seen.append(capsys.readouterr().err) or any(seen), "the line", lambda: seen)
        raise errors.KafkaTimeoutError("late")

    monkeypatch.setattr(command, "NOTICE_SECONDS", 0)
    monkeypatch.setattr(reader, "KafkaConsumer", wait_for_the_line)
    assert command.main(["inspect", "t", "--bootstrap-servers", "nowhere:1"]) == 1
    assert "".join(seen) == "otelkafka: waiting for Kafka at nowhere:1; Ctrl-C ends it\n"


def test_ctrl_c_before_it_has_connected_shows_no_traceback(monkeypatch, capsys):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "KafkaConsumer", interrupt)
    assert command.main(["inspect", "t"]) == 130
    assert capsys.readouterr().err == ""


def test_follow_goes_on_until_interrupted(broker, filled, bare_producer):
    """As a process of its own: Ctrl-C ends it with the summary."""
    servers = ["--bootstrap-servers", broker.bootstrap_servers]
    program = [sys.executable, "-m", "otelkafka", "inspect", filled, "--from", "beginning", "--follow", *servers]
    undo = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, preexec_fn=undo, env=os.environ) as process:
        try:
            before = [process.stdout.readline() for _ in range(4)]
            bare_producer.send(filled, b"v", headers=[TRACEPARENT]).get(PATIENCE)
            line = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read().splitlines()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert all(before)
    assert json.loads(line)["offset"] == 4
    assert json.loads(rest[-1])["summary"]["records"] == 5


def test_a_reader_that_has_seen_enough_is_no_error(broker, filled):
    servers = ["--bootstrap-servers", broker.bootstrap_servers]
    program = [sys.executable, "-m", "otelkafka", "inspect", filled, *servers]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors_printed = process.stderr.read()
        assert (process.wait(PATIENCE), errors_printed) == (0, "")


@pytest.mark.parametrize("follows", [False, True])
def test_nothing_of_a_record_commands_the_terminal(monkeypatch, follows):
    """Escape sequences of a stranger's record, in any column: they are shown, and not obeyed."""
    evil = "\x1b]52;c;cm0gLXJm\x1b\\"
    carried = [
        TRACEPARENT,
        ("tracestate", f"vendor={evil}".encode()),
        ("baggage", b"%1b%5d52%3bc%3bcm0gLXJm%1b%5c=1"),
        ("note", f"{evil}\u202e\x9b2J".encode()),
    ]
    screen = io.StringIO()
    monkeypatch.setattr(rich_console, "Console", lambda: rich_console_of(screen))
    shown, summary = console.Console(), finding.Summary()
    shown.expect(None if follows else 1)
    one = finding.finding_of(record(0, headers=carried, key=evil.encode()), 0, ["note"])
    summary.add(one, evil.encode())
    shown.show(one)
    shown.end(summary)
    seen = screen.getvalue()
    assert "\\x1b]52" in seen
    assert not {letter for letter in seen if not letter.isprintable()} - {"\n"}
