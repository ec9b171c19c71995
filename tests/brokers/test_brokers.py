"""The brokers that tests, demo and benchmarks start: what each kind can do, and that it ends with the process that started it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import closing, contextmanager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import MessageSizeTooLargeError

import testbroker
from testbroker import BrokerUnavailable, start_broker
from testbroker.jars import KafkaNotInstallable
from testbroker.ports import free_ports
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.once

ROOT = Path(testbroker.__file__).parents[1]

STARTER = """
import json, os, sys
from testbroker import start_broker
broker = start_broker(sys.argv[1], **json.loads(os.environ.get("STARTED_WITH", "{}")))
if "forked" in sys.argv and not os.fork():
    sys.stdin.read()  # a child that outlives the starter, and holds its pipes open
    print("outlived it", flush=True)
    os._exit(0)
print(broker.bootstrap_servers.rpartition(":")[2], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def kafka(broker):
    """Return the broker of all tests, if it is Apache Kafka."""
    if broker.kind == "embedded":
        pytest.skip(f"needs Apache Kafka itself; the tests run on the {broker.description}")
    return broker


@pytest.fixture(scope="session")
def own_kafka(kafka):
    """Return Apache Kafka that we started: the broker of all tests, unless that one is given."""
    if kafka.kind == "kafka":
        yield kafka
        return
    try:
        started = start_broker("kafka")
    except KafkaNotInstallable as error:
        pytest.skip(f"needs an Apache Kafka of its own: {error}")
    with started:
        yield started


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.real_kafka), "embedded"])
def kind(request):
    """Name each kind that we start ourselves."""
    if request.param == "kafka":
        request.getfixturevalue("own_kafka")
    return request.param


@pytest.fixture
def unset(monkeypatch):
    """Take away what the environment says about the broker to start."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "OTELKAFKA_BROKER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port():
    """Give a port of 127.0.0.1 that refuses connections, and that nobody else can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def no_maven(unset, closed_port, monkeypatch, tmp_path):
    """Put Maven Central out of reach, with nothing cached."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTELKAFKA_MAVEN_REPOSITORY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("OTELKAFKA_CACHE", str(tmp_path / "cache"))


class BrokenMirror(BaseHTTPRequestHandler):
    """Has Apache Kafka's description, as it seems, but none that can be read, and nothing else."""

    def do_GET(self):
        found = self.path.endswith(".pom")
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(b"no XML")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def broken_mirror(no_maven, monkeypatch):
    """Put in Maven Central's place a repository that can be reached, and from which no download succeeds."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BrokenMirror) as server:
        monkeypatch.setenv("OTELKAFKA_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def new_topic(broker, **options):
    name = f"brokers-{uuid.uuid4().hex}"
    broker.create_topic(name, **options)
    return name


def produce(broker, topic, *values, partition=0):
    with closing(KafkaProducer(**broker.client_options)) as producer:
        for value in values:
            producer.send(topic, value, partition=partition).get(PATIENCE)


@contextmanager
def consumer_of(broker, **config):
    settings = {"auto_offset_reset": "earliest", "consumer_timeout_ms": int(PATIENCE * 1000)}
    with closing(KafkaConsumer(**settings, **broker.client_options, **config)) as consumer:
        yield consumer


def records(broker, topic, count):
    with consumer_of(broker) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [record.value for record in islice(consumer, count)]


def port_of(broker):
    return int(broker.bootstrap_servers.rpartition(":")[2])


def is_open(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError:
        return False
    return True


def answer_as_a_web_server(server):
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def wait_until_closed(port):
    wait_until(lambda: not is_open(port), f"port {port} to be closed", lambda: "it is open")


def wait_until_gone(process, directory):
    """Wait until nothing is left of the broker that a process started."""
    there = lambda: traces_of(process, directory)
    wait_until(lambda: not any(there()), "no JVM, no supervisor and no file", there)


def processes_with(text):
    """Return the command lines of running processes that have a text in them; a space ends each argument."""
    return [line for line in command_lines() if text in line]


def command_lines():
    if not Path("/proc/self/cmdline").exists():
        ps = subprocess.run(["ps", "-A", "-ww", "-o", "command="], capture_output=True, text=True, check=True)
        return [f"{line} " for line in ps.stdout.splitlines()]
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def traces_of(process, directory):
    """Return whether a broker's JVM, its supervisor and its files are there."""
    jvm, supervisor = processes_with(str(directory)), processes_with(f"supervisor.py {process.pid} ")
    return bool(jvm), bool(supervisor), any(directory.iterdir())


@contextmanager
def starter(*arguments, **environment):
    """Run a process that starts a broker, and give it with the broker's port."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    with process:
        try:
            port = process.stdout.readline()
            assert port, "the process should have started a broker: stderr says why it has not"
            yield process, int(port)
        finally:
            process.kill()


@pytest.mark.real_kafka
def test_what_is_produced_to_kafka_is_consumed(kafka):
    """A plain consumer gets what a plain producer sent to Apache Kafka."""
    topic = new_topic(kafka)
    produce(kafka, topic, b"one", b"two")
    assert records(kafka, topic, 2) == [b"one", b"two"]


def test_what_is_produced_to_the_embedded_broker_is_consumed():
    """A plain consumer gets what a plain producer sent to the embedded broker."""
    with start_broker("embedded") as broker:
        topic = new_topic(broker, partitions=3)
        produce(broker, topic, b"one", b"two")
        assert records(broker, topic, 2) == [b"one", b"two"]


@pytest.mark.real_kafka
def test_kafka_makes_as_many_partitions_as_asked_for(kafka):
    """A topic has its partitions as soon as it is created, and each can be written to."""
    topic = new_topic(kafka, partitions=3)
    produce(kafka, topic, b"last", partition=2)
    with consumer_of(kafka) as consumer:
        assert consumer.partitions_for_topic(topic) == {0, 1, 2}


@pytest.mark.real_kafka
def test_kafka_uses_the_configuration_of_a_topic(kafka):
    """A topic's configuration reaches the broker: it refuses what is larger than the topic may have."""
    topic = new_topic(kafka, config={"max.message.bytes": "500"})
    produce(kafka, topic, b"small")
    with pytest.raises(MessageSizeTooLargeError):
        produce(kafka, topic, b"large" * 200)


@pytest.mark.real_kafka
def test_kafka_serves_a_group(kafka):
    """A member of a group gets all partitions, and goes on where the group's former member has committed."""
    topic = new_topic(kafka, partitions=3)
    for partition in range(3):
        produce(kafka, topic, b"%d" % partition, partition=partition)
    group = {"group_id": topic, "enable_auto_commit": False}
    with consumer_of(kafka, **group) as consumer:
        consumer.subscribe([topic])
        assert sorted(record.value for record in islice(consumer, 3)) == [b"0", b"1", b"2"]
        consumer.commit()
    produce(kafka, topic, b"more", partition=1)
    with consumer_of(kafka, **group) as consumer:
        consumer.subscribe([topic])
        assert [record.value for record in islice(consumer, 1)] == [b"more"]


@pytest.mark.real_kafka
def test_kafka_comes_back_after_a_kill_with_its_port_and_data(own_kafka):
    """A killed node is gone at once; restarted, it is at its address again and has what was acknowledged before."""
    with start_broker("kafka") as broker:
        servers, topic = broker.bootstrap_servers, new_topic(broker)
        produce(broker, topic, b"before")
        broker.kill()
        assert not is_open(port_of(broker))
        broker.restart()
        assert broker.bootstrap_servers == servers
        produce(broker, topic, b"after")
        assert records(broker, topic, 2) == [b"before", b"after"]


def test_leaving_the_with_statement_stops_the_broker(kind):
    """The end of `with` closes the port, and to stop once more does nothing."""
    with start_broker(kind) as broker:
        assert is_open(port_of(broker))
    assert not is_open(port_of(broker))
    broker.stop()
    broker.stop()


@pytest.mark.real_kafka
def test_a_stopped_kafka_says_so(own_kafka):
    """Who uses Apache Kafka after its end gets an error that says to start another."""
    broker = start_broker("kafka")
    broker.stop()
    for use in (broker.kill, broker.restart):
        with pytest.raises(RuntimeError, match=r"this broker is stopped: start another with start_broker\(\)"):
            use()


def test_a_stopped_embedded_broker_says_so():
    """Who uses the embedded broker after its end gets an error that says to start another, and the process lives on."""
    broker = start_broker("embedded")
    broker.stop()
    with pytest.raises(RuntimeError, match=r"this broker is stopped.* start another with start_broker\(\)"):
        broker.create_topic("t")


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_the_broker_is_at_no_address_but_one_of_this_machine(kind, host, request):
    """A broker that we start listens on 127.0.0.1 alone, not on all addresses, where others would reach it."""
    started = nullcontext(request.getfixturevalue("own_kafka")) if kind == "kafka" else start_broker(kind)
    with started as broker:
        assert broker.bootstrap_servers == f"127.0.0.1:{port_of(broker)}"
        assert not is_open(port_of(broker), host)


@pytest.mark.parametrize("end", ["killed", "exits"])
def test_the_broker_ends_with_the_process_that_started_it(kind, end, tmp_path):
    """Whether the starter is killed or forgets to stop the broker: no port, process or file is left."""
    with starter(kind, TMPDIR=str(tmp_path)) as (process, port):
        # What is to be gone later must be there now, else its absence would prove nothing.
        assert is_open(port)
        assert traces_of(process, tmp_path) == ((True, True, True) if kind == "kafka" else (False, False, False))
        if end == "killed":
            process.kill()
        process.stdin.close()
        process.wait()
        wait_until_closed(port)
        wait_until_gone(process, tmp_path)


@pytest.mark.real_kafka
@pytest.mark.parametrize(
    "options", [{"version": "2.8.2"}, {"version": "4.1.1", "nodes": 3}], ids=["with ZooKeeper", "three nodes"]
)
def test_all_that_belongs_to_kafka_ends_with_the_process_that_started_it(own_kafka, options, tmp_path):
    """ZooKeeper beside a node, or three nodes: of a starter that is killed no process or file is left."""
    with starter("kafka", TMPDIR=str(tmp_path), STARTED_WITH=json.dumps(options)) as (process, port):
        assert is_open(port)
        parts = options.get("nodes", 2)
        assert len(processes_with(f"supervisor.py {process.pid} ")) == len(list(tmp_path.iterdir())) == parts
        process.kill()
        process.wait()
        wait_until_closed(port)
        wait_until_gone(process, tmp_path)


@pytest.mark.real_kafka
@pytest.mark.parametrize("version", ["0.10.2.2", "2.8.2"])
def test_kafka_with_zookeeper_keeps_its_data_over_a_restart(own_kafka, version):
    """A node that is killed and restarted is not taken for another than itself, and has its data."""
    with start_broker("kafka", version=version) as broker:
        topic = new_topic(broker, partitions=2)
        produce(broker, topic, b"before")
        broker.restart()
        produce(broker, topic, b"after")
        assert records(broker, topic, 2) == [b"before", b"after"]


@pytest.mark.real_kafka
def test_a_cluster_goes_on_without_one_of_its_nodes(own_kafka):
    """Of three nodes one is killed, and what was acknowledged is there; it comes back, and is a part of them again."""
    with start_broker("kafka", nodes=3) as broker:
        topic = new_topic(broker)
        produce(broker, topic, b"before")
        killed = broker.leader_of(topic)
        broker.kill(killed)
        leader = lambda: broker.leader_of(topic)
        wait_until(lambda: leader() not in {-1, killed}, f"a leader other than node {killed}", leader)
        assert records(broker, topic, 1) == [b"before"]
        broker.restart(killed)
        assert records(broker, topic, 1) == [b"before"]


@pytest.mark.real_kafka
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
def test_kafka_ends_with_its_starter_also_when_a_forked_child_lives_on(own_kafka, tmp_path):
    """A child that the starter forked, and that holds its pipes open, does not keep the broker alive."""
    with starter("kafka", "forked", TMPDIR=str(tmp_path)) as (process, port):
        assert is_open(port)
        process.kill()
        process.wait()
        wait_until_closed(port)
        wait_until_gone(process, tmp_path)
        process.stdin.close()
        assert process.stdout.read() == "outlived it\n"


@pytest.mark.real_kafka
def test_kafka_needs_no_program_and_once_cached_no_network(own_kafka, closed_port):
    """Apache Kafka starts with an empty PATH, and from the cache when Maven Central is out of reach."""
    repository = f"http://127.0.0.1:{closed_port}"
    with starter("kafka", PATH="/nonexistent", JAVA_HOME="", OTELKAFKA_MAVEN_REPOSITORY=repository) as (_, port):
        assert is_open(port)


def test_without_maven_the_embedded_broker_takes_over_and_says_so(no_maven, capfd):
    """When Apache Kafka cannot be had, one line says why and what is used instead, and that works."""
    with start_broker() as broker:
        assert broker.kind == "embedded"
        topic = new_topic(broker)
        produce(broker, topic, b"hello")
        assert records(broker, topic, 1) == [b"hello"]
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert re.match(
        r"testbroker: Apache Kafka [\d.]+ is not cached and cannot be had from http://127\.0\.0\.1:\d+ \(ConnectionError\): "
        r"using the broker embedded in confluent-kafka instead\n",
        err,
    )


@pytest.mark.parametrize("way", ["argument", "environment variable", "properties"])
def test_without_maven_a_demand_for_kafka_fails(no_maven, monkeypatch, capfd, way):
    """Who demands Apache Kafka gets no other broker, but an error of ours alone, which names the ways out."""
    if way == "environment variable":
        monkeypatch.setenv("OTELKAFKA_BROKER", "kafka")
    options = {"argument": {"kind": "kafka"}, "properties": {"properties": {"log.retention.hours": "1"}}}
    with pytest.raises(BrokerUnavailable, match="Apache Kafka .* is not cached and cannot be had from") as raised:
        start_broker(**options.get(way, {}))
    assert raised.value.__cause__ is raised.value.__context__ is None
    for remedy in ("OTELKAFKA_MAVEN_REPOSITORY", "KAFKA_BOOTSTRAP_SERVERS", "OTELKAFKA_BROKER=embedded"):
        assert remedy in raised.value.remedy
    assert capfd.readouterr() == ("", "")


def test_a_failed_download_falls_back_and_leaves_nothing(broken_mirror, tmp_path, capfd):
    """A download that breaks off is reported, the embedded broker takes over, and the cache holds no half of it."""
    with start_broker() as broker:
        assert broker.kind == "embedded"
    *progress, last = capfd.readouterr().err.splitlines()
    assert all(line.startswith("testbroker: downloading") for line in progress)
    assert re.match("testbroker: Apache Kafka .* could not be downloaded from .*: using the broker embedded in", last)
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(BrokerUnavailable, match="could not be downloaded from .* set OTELKAFKA_MAVEN_REPOSITORY"):
        start_broker("kafka")


def test_an_unknown_kind_is_refused(unset, monkeypatch):
    """A kind that does not exist, as argument or in the environment, is a ValueError that lists those that do."""
    message = "no broker of kind 'redpanda': .*OTELKAFKA_BROKER must be one of auto, given, kafka, embedded"
    with pytest.raises(ValueError, match=message):
        start_broker("redpanda")
    monkeypatch.setenv("OTELKAFKA_BROKER", "redpanda")
    with pytest.raises(ValueError, match=message):
        start_broker()


def test_the_argument_wins_over_the_environment(unset, monkeypatch):
    """The kind that the caller asks for is started whatever the environment says."""
    monkeypatch.setenv("OTELKAFKA_BROKER", "kafka")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with start_broker("embedded") as broker:
        assert broker.kind == "embedded"


@pytest.mark.parametrize("version", ["4.1", "newest", "2.7.2", "0.11.0.3"])
def test_a_version_that_cannot_run_is_refused(version):
    """A version that is no release, or one that cannot run here, is a ValueError that says which would do."""
    with pytest.raises(ValueError, match=r"must be a release such as .*, 2\.8\.0 at least, or 0\.10\.2\.2"):
        start_broker("kafka", version=version)


@pytest.mark.parametrize("nodes", [0, 10])
def test_a_cluster_of_no_nodes_or_too_many_is_refused(nodes):
    """There is a node at least, and not more than a machine can bear."""
    with pytest.raises(ValueError, match=f"no cluster of {nodes} nodes: there must be 1 to 9"):
        start_broker("kafka", nodes=nodes)


def test_the_embedded_broker_says_what_it_cannot_do():
    """What only Apache Kafka can do is refused by the embedded broker, with the word who can."""
    with pytest.raises(ValueError, match='takes no properties: ask for one with kind="kafka"'):
        start_broker("embedded", properties={"log.retention.hours": "1"})
    with pytest.raises(ValueError, match='takes no second node: ask for one with kind="kafka"'):
        start_broker("embedded", nodes=2)
    with start_broker("embedded") as broker:
        with pytest.raises(RuntimeError, match=r'no configuration of topics: use start_broker\("kafka"\)'):
            broker.create_topic("t", config={"cleanup.policy": "compact"})
        for action in (broker.kill, broker.restart):
            with pytest.raises(NotImplementedError, match=r'ask for one that can, start_broker\("kafka"\)'):
                action()


def test_a_topic_that_exists_is_not_created_again(broker):
    """To create a topic twice is an error that names it, on every kind of broker."""
    topic = new_topic(broker)
    with pytest.raises(RuntimeError, match=f"refused to create topic '{topic}'"):
        broker.create_topic(topic)


@pytest.mark.parametrize("kind", [None, "auto", "given"])
def test_a_given_broker_is_used_and_left_running(broker, unset, monkeypatch, kind):
    """The broker at KAFKA_BOOTSTRAP_SERVERS is used without asking for it, and does not end with `stop()`."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    with start_broker(kind) as given:
        assert (given.kind, given.bootstrap_servers) == ("given", broker.bootstrap_servers)
    given.stop()
    topic = new_topic(broker)
    produce(broker, topic, b"still here")
    assert records(broker, topic, 1) == [b"still here"]


@pytest.mark.real_kafka
def test_a_given_broker_gets_topics_and_records(kafka, unset, monkeypatch):
    """On a given Kafka topics are created, with partitions and configuration, and records go through."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    with start_broker() as given:
        topic = new_topic(given, partitions=2, config={"max.message.bytes": "500"})
        produce(given, topic, b"hello")
        assert records(given, topic, 1) == [b"hello"]
        with pytest.raises(NotImplementedError, match='kind "given" cannot be killed'):
            given.kill()


@pytest.mark.parametrize("kind", ["auto", "given"])
def test_a_given_broker_that_does_not_answer_is_an_error(unset, closed_port, monkeypatch, kind):
    """A closed port at KAFKA_BOOTSTRAP_SERVERS is reported, with the ways out; no other broker is taken in its place."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{closed_port}")
    with pytest.raises(BrokerUnavailable, match=f"no Kafka broker answers at 127.0.0.1:{closed_port} ") as raised:
        start_broker(kind)
    assert (
        raised.value.remedy == "Start it, correct KAFKA_BOOTSTRAP_SERVERS, or leave that out: then a broker is started."
    )


def test_a_given_address_of_something_else_is_an_error(unset, monkeypatch):
    """What answers at KAFKA_BOOTSTRAP_SERVERS but is no Kafka broker is reported like a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{server.getsockname()[1]}")
        thread = threading.Thread(target=answer_as_a_web_server, args=[server])
        thread.start()
        with pytest.raises(BrokerUnavailable, match="no Kafka broker answers at"):
            start_broker()
        thread.join()


@pytest.mark.parametrize("servers", ["", "localhost", "localhost:", ":9092", "localhost:kafka"])
def test_a_given_address_that_is_none_is_an_error(unset, monkeypatch, servers):
    """What is no host:port in KAFKA_BOOTSTRAP_SERVERS, or nothing at all, is reported with what to set."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers)
    with pytest.raises(BrokerUnavailable, match=r"no host:port|no broker is given") as raised:
        start_broker("given")
    assert "KAFKA_BOOTSTRAP_SERVERS" in raised.value.remedy


@pytest.fixture
def obeys_ctrl_c():
    """What is started ends on Ctrl-C, also where these tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("obeys_ctrl_c")
def test_command_says_where_it_listens_and_ends_at_ctrl_c(kafka):
    """`python -m testbroker`; here it finds the one that runs already."""
    shown = {**os.environ, "OTELKAFKA_BROKER": "given", "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    command = [sys.executable, "-m", "testbroker"]
    with subprocess.Popen(command, cwd=ROOT, env=shown, stdout=subprocess.PIPE, text=True) as process:
        assert kafka.bootstrap_servers in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.real_kafka
def test_kafka_listens_on_the_port_that_is_asked_for(unset):
    """So that the programs of the pages find it; a port that is in use is an error at once."""
    (port,) = free_ports(1)
    with start_broker(port=port) as broker:
        assert broker.bootstrap_servers == f"127.0.0.1:{port}"
        with pytest.raises(BrokerUnavailable, match=f"port {port} of 127.0.0.1 is in use"):
            start_broker("kafka", port=port)


@pytest.mark.parametrize("options", [{"kind": "embedded"}, {"kind": "kafka", "nodes": 2}])
def test_a_port_is_for_one_node_of_kafka(options):
    """The embedded broker chooses its own, and each node needs one."""
    with pytest.raises(ValueError, match="port"):
        start_broker(port=9092, **options)


def test_command_says_why_there_is_none():
    """In a line, with what to do."""
    shown = {**os.environ, "OTELKAFKA_BROKER": "given", "KAFKA_BOOTSTRAP_SERVERS": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "testbroker"], cwd=ROOT, env=shown, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("testbroker: ")
    assert "KAFKA_BOOTSTRAP_SERVERS" in ended.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--kind", "nonsense"]])
def test_command_line_explains_itself_and_starts_nothing(arguments, unset):
    """A process of its own, which ends by itself."""
    program = [sys.executable, "-m", "testbroker", *arguments]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE)
    assert ended.returncode == (0 if arguments == ["--help"] else 2)
    assert "usage: python -m testbroker" in ended.stdout + ended.stderr
