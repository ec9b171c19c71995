"""Programs of steps over several consumers and contexts, each step of which is held against `context_model`.

A program is text: what there is, then a step a line: the context in which it is run, what is done, and its names. Behind
`|` stands what the model says of it: what is current there afterwards, the new span's parent, and what has ended.

    A:parent:- B:parent:-s module:parent
    main   next A          | A0
    main   copy t1         | A0
    t1     enter b1 A0     | A0
    main   next A          | A1
    t1     leave b1        | A0; ended A0

`A:parent:-s` is a consumer whose records have no context and a sampled one in turn (`u`: one that is not sampled);
`manual` in the third place is the option. `module` is the relation of `process()` and of handlers without a consumer,
which also process the records X0, X1...; `metrics` gives meters to all, and `hook` keeps them off the fast path.

| step | what is run |
|---|---|
| next A; iter A i1; advance i1; drop i1 | `next(A)`; `i1 = iter(A)`; `next(i1)`; `del i1` |
| poll A l1 2; loop l1 i1 | the list of `A.poll(max_records=2)`; `i1 = iter(l1)` |
| commit A; close A | `A.commit()`; `A.close()` |
| enter b1 A0; enter b1 l1; enter b1 A0+A1 | `A.process(A0)`, `A.process_batch(l1)`, `A.process_batch([A0, A1])` are entered |
| enter b1 module:A0, copied:A0, handler:A0 | ... `process(A0)`, `A.process(A0._replace(value=...))`, an async handler |
| leave b1; fail b1 | the block is left, by its end or by an exception |
| span s1; attach s1; exit s1 | a span of the application's is made current; a context of its is attached; it is left |
| probe; send | a span is started and ended; a wrapped producer sends |
| copy t1; fresh t1 | a context: a copy of this one, or an empty one, as a thread's |
"""

import contextvars
import logging
from collections import Counter
from dataclasses import dataclass
from random import Random

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from otelkafka import ConsumerOptions, ProducerOptions, process, process_batch, wrap_handler
from otelkafka.testing import FakeConsumer, FakeProducer, MetricRecorder, SpanRecorder, fake_record
from tests.support.context_model import Block, Consumer, Frame, Iterator, Model, Place, Record, Span, Unclear
from tests.support.face import process_batch_of, process_of, wrap_consumer, wrap_producer

RECORDS = 60
PLACES = 8
COMPARED = {"creation", "ambient"}


class Impossible(Exception):
    """A step that speaks of what is not there, as a step before was left out."""


class Wrong(AssertionError):
    """Otelkafka does otherwise than the model."""


class Failure(Exception):
    """Of a block's body."""


class Pause:
    def __await__(self):
        yield


@dataclass
class List:
    """Records in a list; whether its first iteration, or a batch, has been."""

    records: list
    is_taken: bool = False


class Watcher(SpanProcessor, logging.Handler):
    """Keeps what starts, ends and is logged of it; not what clients of the tests before may still log."""

    def __init__(self):
        logging.Handler.__init__(self, logging.WARNING)
        self.started, self.ended, self.logged = [], [], []

    def on_start(self, span, parent_context=None):
        self.started.append(span)

    def on_end(self, span):
        self.ended.append(span)

    def emit(self, record):
        if record.name.partition(".")[0] in {"otelkafka", "opentelemetry"}:
            self.logged.append(record.getMessage())

    def shutdown(self):
        pass


class Walk:
    """Runs the steps of a program, one after the other, in the model and in otelkafka.

    Args:
        setup: what there is, the first line of a program.
        is_real: False for the model alone.

    Attributes:
        program: the steps that were run, with what the model says of them.
    """

    def __init__(self, setup, *, is_real=True):
        words = [word.split(":") for word in setup.split()]
        self.setup, self.is_real, self.program = setup, is_real, []
        self.relation = next((word[1] for word in words if word[0] == "module"), "parent")
        self.consumers, self.records, self.given, self.spans = {}, {}, {}, {}
        for number, (name, relation, pattern, *more) in enumerate(word for word in words if len(word) > 2):
            self.consumers[name] = Consumer(name, relation, dispatches="manual" not in more)
            self._make_records(self.consumers[name], pattern, number + 1)
        foreign = Consumer("X", position=RECORDS)
        self._make_records(foreign, "-s", len(words) + 1)
        self.model = Model(self.consumers.values())
        self.places = {"main": Place("main")}
        self.iterators, self.lists, self.entered = {}, {}, {}
        if is_real:
            self._make_clients(wants_metrics=["metrics"] in words, wants_hook=["hook"] in words)

    def _make_records(self, consumer, pattern, number):
        for at in range(RECORDS):
            name, kind, origin, headers = f"{consumer.name}{at}", pattern[at % len(pattern)], None, []
            if kind != "-":
                origin = Span(f"context of {name}", is_sampled=kind == "s")
                flags = TraceFlags(origin.is_sampled)
                origin.context = SpanContext(number << 64 | at + 1, number << 32 | at + 1, True, flags)
                ids = f"{origin.context.trace_id:032x}-{origin.context.span_id:016x}-{flags:02x}"
                headers = [("traceparent", f"00-{ids}".encode())]
                self.spans[origin.context.span_id] = origin
            self.records[name] = Record(name, origin, consumer)
            self.given[name] = fake_record(consumer.name, offset=at, headers=headers, timestamp=1_000_000)
            consumer.records.append(self.records[name])

    def _make_clients(self, *, wants_metrics, wants_hook):
        self.watcher, self.recorder = Watcher(), SpanRecorder()
        self.recorder.tracer_provider.add_span_processor(self.watcher)
        self.metrics = MetricRecorder() if wants_metrics else None
        self.tracer = self.recorder.tracer_provider.get_tracer("application")
        providers = {"tracer_provider": self.recorder.tracer_provider}
        if wants_metrics:
            providers["meter_provider"] = self.metrics.meter_provider
        hook = {"on_process": lambda *_: None} if wants_hook else {}
        self.options = ConsumerOptions(relation=self.relation, **providers, **hook)
        self.producer = wrap_producer(FakeProducer(), ProducerOptions(**providers))
        self.clients = {}
        for name, consumer in self.consumers.items():
            records = [self.given[record.name] for record in consumer.records]
            mode = "auto" if consumer.dispatches else "manual"
            options = ConsumerOptions(relation=consumer.relation, process=mode, **providers, **hook)
            self.clients[name] = wrap_consumer(FakeConsumer(records=records, group_id="g"), options)
        self.contexts = {"main": contextvars.Context()}
        self.running = {}

    # A step.

    def step(self, text):
        """Run a step.

        Raises:
            Impossible: there is no such thing.
            Unclear: the rules do not say what happens.
            Wrong: otelkafka does otherwise than the model.
        """
        place, action, *names = text.partition("|")[0].split()
        if place not in self.places:
            raise Impossible(place)
        here = self.places[place]
        started, ended = len(self.model.started), len(self.model.ended)
        try:
            run = getattr(self, f"_{action}")(here, *names)
        except KeyError as missing:
            raise Impossible(missing) from None
        if self.is_real:
            try:
                self.contexts[place].run(run)
                wrong = self._compare(here, self.model.started[started:], self.model.ended[ended:])
            except (Unclear, Impossible):
                raise
            except Exception as error:
                wrong = [f"raised {type(error).__name__}: {error}"]
        else:
            wrong = []
        said = self._said(here, self.model.started[started:], self.model.ended[ended:])
        self.program.append(f"{place:<6} {action + ' ' + ' '.join(names):<20} | {said}")
        if wrong:
            raise Wrong("\n".join(wrong))

    def _said(self, here, started, ended):
        lasting = [span for span in started if span not in ended]
        parents = [f" in {span.parent.name}" for span in lasting if span.parent]
        ended = [span.name for span in ended if span not in started]
        return (
            (here.current.name if here.current else "nothing")
            + "".join(parents)
            + (f"; ended {' '.join(ended)}" if ended else "")
        )

    def _compare(self, here, started, ended):
        found, seen = [], self.watcher
        found += [f"logged: {message}" for message in seen.logged]
        is_compared = lambda span: not span.name.startswith("commit")
        actual = list(filter(is_compared, seen.started))
        expected = [span for span in started if span.is_sampled]
        names = [kind_of(span.name) for span in actual], [kind_of(span.name, span.of_process) for span in expected]
        if names[0] != names[1]:
            found.append(f"started: expected {names[1] or 'nothing'}, found {names[0] or 'nothing'}")
        else:
            for one, other in zip(expected, actual, strict=True):
                one.context = other.get_span_context()
                self.spans[one.context.span_id] = one
                found += self._compare_parent(one, other)
        for span in started:
            if not span.is_sampled and span is here.current:
                span.context = self.contexts[here.name].run(current)
                found += self._compare_unsampled(span)
                self.spans[span.context.span_id] = span
        expected = Counter(span.context.span_id for span in ended if span.is_sampled and span.context)
        actual = Counter(span.context.span_id for span in filter(is_compared, seen.ended))
        for what, ids in ("has ended, and should not have", actual - expected), ("has not ended", expected - actual):
            found += [f"{self._name(span_id).removesuffix(' (ended)')} {what}" for span_id in ids]
        for place in self.places.values():
            said = self.contexts[place.name].run(current)
            want = place.current.context if place.current else None
            if (said and said.span_id) != (want and want.span_id):
                name = place.current.name if place.current else "nothing"
                found.append(f"current in {place.name}: expected {name}, found {self._name(said and said.span_id)}")
        seen.started, seen.ended, seen.logged = [], [], []
        return found

    def _compare_parent(self, span, actual):
        found = []
        want = span.parent.context.span_id if span.parent else None
        parent = actual.parent.span_id if actual.parent else None
        if parent != want:
            found.append(f"parent of {span.name}: expected {self._name(want)}, found {self._name(parent)}")
        links = [(link.attributes.get("otelkafka.link.type"), link.context.span_id) for link in actual.links]
        links = Counter(link for link in links if link[0] in COMPARED)
        wanted = Counter((kind, linked.context.span_id) for kind, linked in span.links)
        if links != wanted:
            shown = [[f"{kind} {self._name(span_id)}" for kind, span_id in each] for each in (wanted, links)]
            found.append(f"links of {span.name}: expected {shown[0]}, found {shown[1]}")
        return found

    def _compare_unsampled(self, span):
        context = span.context
        if context is None or context.trace_flags.sampled or context.span_id in self.spans:
            return [f"current: expected {span.name}, which is new and not sampled, found {self._name_of(context)}"]
        if context.trace_id != span.parent.context.trace_id:
            return [f"trace of {span.name}: expected that of {span.parent.name}, found another"]
        return []

    def _name_of(self, context):
        return self._name(context.span_id if context else None)

    def _name(self, span_id):
        if span_id is None:
            return "nothing"
        known = self.spans.get(span_id)
        if known is None:
            return "another span"
        return f"{known.name} (ended)" if known.ended else known.name

    # Loops. Each returns what is to be run; it raises before it changes anything.

    def _next(self, here, name):
        consumer = self._open_consumer(name)
        record = self.model.next(here, self.iterators.setdefault(name, Iterator(consumer)))
        return lambda: self._check_record(next(self.clients[name], None), record)

    def _iter(self, here, name, iterator):
        consumer = self._open_consumer(name)
        self.model.stop(here, consumer)
        self.iterators[iterator] = Iterator(consumer)

        def run():
            self.running[iterator] = iter(self.clients[name])

        return run

    def _advance(self, here, name):
        iterator = self.iterators[name]
        self._open_consumer(iterator.consumer.name)
        of_list, ends = iterator.records is not None, not iterator.records
        record = (self.model.advance if of_list else self.model.next)(here, iterator)

        def run():
            self._check_record(next(self.running[name], None), record)
            if of_list and ends:
                self.model.may_have_run(here, current())

        return run

    def _drop(self, here, name):
        self.model.drop(here, self.iterators[name])
        del self.iterators[name]

        def run():
            del self.running[name]
            self.model.may_have_run(here, current())

        return run

    def _poll(self, here, name, given, count):
        consumer = self._open_consumer(name)
        self.model.stop(here, consumer)
        records = consumer.take(int(count))
        if records:
            self.lists[given] = List(records)

        def run():
            polled = list(self.clients[name].poll(max_records=int(count)).values())
            for each in polled:
                self.given[given] = each
                for one, record in zip(each[:], records, strict=True):
                    self._check_record(one, record)

        return run

    def _loop(self, here, given, name):
        looped, consumer = self.lists[given], self.lists[given].records[0].owner
        if not consumer.dispatches or consumer.is_closed or looped.is_taken:
            raise Impossible(given)
        looped.is_taken = True
        self.iterators[name] = Iterator(consumer, list(looped.records))

        def run():
            self.running[name] = iter(self.given[given])

        return run

    def _commit(self, here, name):
        self._open_consumer(name)

        def run():
            self.clients[name].commit()
            self.model.may_have_run(here, current())

        return run

    def _close(self, here, name):
        consumer = self._open_consumer(name)
        self.model.stop(here, consumer)
        consumer.is_closed = True
        return lambda: self.clients[name].close()

    def _open_consumer(self, name):
        if self.consumers[name].is_closed:
            raise Impossible(name)
        return self.consumers[name]

    def _check_record(self, found, record):
        expected = record and self.given[record.name]
        if (found and (found.topic, found.offset)) != (expected and (expected.topic, expected.offset)):
            msg = f"handed over {found}, expected {expected}"
            raise Wrong(msg)
        if record:
            self.given[record.name] = found

    # Blocks.

    def _enter(self, here, name, what):
        way, _, what = what.rpartition(":")
        if "+" in what:
            made = List([self.records[each] for each in what.split("+")], is_taken=True)
            given = name
        else:
            made, given = self.lists.get(what), what
        records = [self.records[what]] if made is None else made.records
        owner = records[0].owner
        if owner.name not in self.consumers and way != "handler":
            way = "module"
        if not all(record.owner.has_handed_over(record) for record in records):
            raise Impossible(what)
        relation = self.relation if way in ("module", "handler") else owner.relation
        key = records[0] if made is None else given
        block = self.model.enter(here, key, what if made is None else name, records, relation)
        self.entered[name] = block
        if made is not None:
            made.is_taken, self.lists[given] = True, made

        def run():
            if "+" in what:
                self.given[name] = [self.given[record.name] for record in records]
            argument = self.given[given]
            if way == "copied" and made is None:
                argument = argument._replace(value="decoded")
            was = current()
            self.running[name] = self._entered(way, made is not None, owner.name, argument)
            if block.joined and was != block.span.context == current():
                self.model.made_current(here, block)

        return run

    def _entered(self, way, is_batch, owner, argument):
        if way == "handler":

            async def handle(argument):
                await Pause()

            running = wrap_handler(handle, self.options)(argument)
            running.send(None)
            return running
        if way == "module":
            block = (process_batch if is_batch else process)(argument, self.options)
        else:
            block = (process_batch_of if is_batch else process_of)(self.clients[owner], argument)
        block.__enter__()
        return block

    def _leave(self, here, name, *, failed=False):
        block = self._innermost(here, name, Block)
        self.model.leave(here, block, failed=failed)
        del self.entered[name]

        def run():
            self._left(self.running.pop(name), Failure(name) if failed else None)
            self.model.may_have_run(here, current())

        return run

    def _fail(self, here, name):
        return self._leave(here, name, failed=True)

    def _innermost(self, here, name, kind):
        entered = self.entered[name]
        if not here.entered or here.entered[-1] is not entered or not isinstance(entered, kind):
            raise Impossible(name)
        return entered

    def _left(self, block, error):
        if hasattr(block, "__exit__"):
            block.__exit__(type(error) if error else None, error, None)
            return
        try:
            block.throw(error) if error else block.send(None)
        except (StopIteration, Failure):
            return

    # The application.

    def _span(self, here, name):
        self.entered[name] = self.model.attach(here, name)

        def run():
            self.running[name] = self.tracer.start_as_current_span(name)
            self.running[name].__enter__()

        return run

    def _attach(self, here, name):
        self.entered[name] = self.model.attach(here)

        def run():
            self.running[name] = context_api.attach(context_api.set_value("application", name))

        return run

    def _exit(self, here, name):
        frame = self._innermost(here, name, Frame)
        ends = frame.span is not None and frame.span.name == name
        self.model.detach(here, frame, ends=ends)
        del self.entered[name]

        def run():
            running = self.running.pop(name)
            running.__exit__(None, None, None) if ends else context_api.detach(running)

        return run

    def _probe(self, here):
        self.model.probe(here)

        def run():
            with self.tracer.start_as_current_span("probe"):
                pass

        return run

    def _send(self, here):
        self.model.send(here)
        return lambda: self.producer.send("t", b"value")

    def _copy(self, here, name):
        return self._place(name, Place(name, here), lambda: contextvars.copy_context())

    def _fresh(self, here, name):
        return self._place(name, Place(name), contextvars.Context)

    def _place(self, name, place, make):
        if name in self.places:
            raise Impossible(name)
        self.places[name] = place

        def run():
            self.contexts[name] = make()

        return run

    # The end.

    def finish(self):
        """Leave all blocks, drop all iterators, close all consumers, and run otelkafka once in each context."""
        for name, entered in reversed(list(self.entered.items())):
            self.step(f"{entered.place.name} {'leave' if isinstance(entered, Block) else 'exit'} {name}")
        for name in [name for name in self.iterators if name not in self.consumers]:
            self.step(f"main drop {name}")
        for name, consumer in self.consumers.items():
            if not consumer.is_closed:
                self.step(f"main close {name}")
        for place in self.places:
            self.step(f"{place} enter {place}-end X0")
            self.step(f"{place} leave {place}-end")
        wrong = [f"{span.name} has not ended, by the model itself" for span in self.model.started if not span.ended]
        if self.places["main"].current is not None:
            wrong.append(f"{self.places['main'].current.name} is current at the end, by the model itself")
        if self.is_real:
            wrong += self._compare_failures()
        if wrong:
            raise Wrong("\n".join(wrong))

    def _compare_failures(self):
        found = []
        for actual in self.recorder.spans:
            span = self.spans.get(actual.context.span_id)
            if span is not None and span.of_process:
                said = len(actual.events), actual.status.status_code is StatusCode.ERROR
                if said != (span.failures, span.failures > 0):
                    found.append(
                        f"exceptions on {span.name}: expected {span.failures}, found {said[0]} and {actual.status.status_code.name}"
                    )
        if self.metrics is not None:
            count = sum(count for _, count in self.metrics.points("messaging.process.duration"))
            expected = sum(span.of_process for span in self.model.started)
            if count != expected:
                found.append(f"messaging.process.duration: expected {expected} records and batches, found {count}")
        return found

    def abandon(self):
        """Leave what is entered, so that nothing of it is left to the collector of garbage."""
        for name, entered in reversed(list(self.entered.items())):
            running = self.running.pop(name, None)
            try:
                if hasattr(running, "__exit__"):
                    self.contexts[entered.place.name].run(running.__exit__, None, None, None)
                elif hasattr(running, "close"):
                    self.contexts[entered.place.name].run(running.close)
            except Exception:
                continue
        self.running.clear()


def current():
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


def kind_of(name, of_process=False):
    """What is compared of names: process spans have those of their topics."""
    return "process" if of_process or name.startswith("process") else name.partition(" ")[0]


# Random programs.


LOOPS = {"next": 8, "iter": 3, "advance": 10, "drop": 3, "poll": 3, "loop": 4, "probe": 3, "close": 0.1}
APPLICATION = {"span": 3, "attach": 1, "exit": 4}
BLOCKS = {"enter": 10, "leave": 10, "fail": 3, "commit": 1}
CONTEXTS = {"copy": 2, "fresh": 1}
PROFILES = {
    "one consumer": (1, {**LOOPS, **APPLICATION}),
    "sends": (2, {**LOOPS, **APPLICATION, "send": 10}),
    "consumers in turn": (3, {**LOOPS, **APPLICATION}),
    "blocks": (2, {**LOOPS, **APPLICATION, **BLOCKS}),
    "batches": (2, {**LOOPS, **APPLICATION, **BLOCKS, "batch": 8}),
    "loops in contexts": (2, {**LOOPS, **APPLICATION, **CONTEXTS}),
    "tasks": (1, {"next": 8, "iter": 1, "advance": 5, "poll": 1, "probe": 1, "leave": 6, "fail": 1, "copy": 8}),
    "everything": (3, {**LOOPS, **APPLICATION, **BLOCKS, **CONTEXTS, "batch": 4, "send": 2}),
}
"""By name: how many consumers there are, and how often each step is taken."""


class Chooser:
    """Chooses the steps of a walk: by chance, but such as are possible, and rather of what is open."""

    def __init__(self, seed, profile):
        self.random = Random(f"{profile} {seed}")
        self.consumers, self.weights = PROFILES[profile]
        self.count = 0
        self.planned = []
        self.loops_elsewhere = (
            0 if profile == "tasks" else 0.2
        )  # where tasks have loops, too, the rules are soon unclear

    def setup(self):
        draw = self.random
        relation, of_all = draw.choice(["parent", "link"]), draw.random() < 0.6
        words = []
        for name in "ABC"[: self.consumers]:
            own = relation if of_all else draw.choice(["parent", "link"])
            pattern = draw.choice(["-", "-", "s", "-s", "su-", "u", "ssu--"])
            words.append(f"{name}:{own}:{pattern}" + (":manual" if draw.random() < 0.05 else ""))
        words.append(f"module:{relation}")
        return " ".join(words + [word for word in ("metrics", "hook") if draw.random() < 0.2])

    def step(self, walk):
        """Return a step, or None where the one that was drawn is not possible."""
        self.count += 1
        if self.planned:
            return self.planned.pop()
        action = self.random.choices(list(self.weights), list(self.weights.values()))[0]
        often = 0.5 if action not in LOOPS or "leave" not in self.weights else self.loops_elsewhere
        place = self._one(list(walk.places)) if self.random.random() < often else "main"
        names = getattr(self, f"_{action}", self._nothing)(walk, walk.places[place])
        if names is None:
            return None
        return " ".join([place, "enter" if action == "batch" else action, *names])

    def _one(self, among):
        among = list(among)
        return self.random.choice(among) if among else None

    def _named(self, name, more=()):
        return None if name is None else [name, *more]

    def _nothing(self, walk, here):
        return []

    def _consumer(self, walk, here):
        return self._named(self._one(walk.consumers))

    _next = _commit = _close = _consumer

    def _iter(self, walk, here):
        return self._named(self._one(walk.consumers), [f"i{self.count}"])

    def _poll(self, walk, here):
        return self._named(self._one(walk.consumers), [f"l{self.count}", str(self.random.randint(1, 3))])

    def _advance(self, walk, here):
        return self._named(self._one(name for name in walk.iterators if name not in walk.consumers))

    _drop = _advance

    def _loop(self, walk, here):
        return self._named(self._one(name for name in walk.lists if not walk.lists[name].is_taken), [f"i{self.count}"])

    def _enter(self, walk, here):
        record = self._record(walk, here)
        return record and [f"b{self.count}", self._way() + record]

    def _batch(self, walk, here):
        if walk.lists and self.random.random() < 0.4:
            return [f"b{self.count}", self._way() + self._one(walk.lists)]
        records = {self._record(walk, here) for _ in range(3)} - {None}
        return [f"b{self.count}", self._way() + "+".join(sorted(records))] if len(records) > 1 else None

    def _way(self):
        return self.random.choice(["", "", "", "module:", "handler:", "copied:"])

    def _record(self, walk, here):
        open_here = [span.given.name for span in here.known if not span.ended and isinstance(span.given, Record)]
        if open_here and self.random.random() < 0.7:
            return self._one(open_here)
        handed_over = [record.name for each in walk.consumers.values() for record in each.records[: each.position]]
        return self._one([*handed_over[-5:], "X0", "X1"])

    def _leave(self, walk, here):
        return self._named(next((name for name, entered in walk.entered.items() if entered in here.entered[-1:]), None))

    _fail = _exit = _leave

    def _span(self, walk, here):
        return [f"s{self.count}"]

    _attach = _span

    def _copy(self, walk, here):
        """Copy the context, mostly as a task does that processes a record of the loop around it."""
        name = f"t{len(walk.places)}"
        if len(walk.places) == PLACES:
            return None
        if "leave" in self.weights and self.random.random() < 0.7:
            record = self._record(walk, here)
            self.planned = [f"{name} enter b{self.count} {self._way()}{record}"]
        return [name]

    def _fresh(self, walk, here):
        return [f"t{len(walk.places)}"] if len(walk.places) < PLACES else None


def run(program, *, is_real=True):
    """Run a program, leaving out what is not possible or not clear; return the walk, and what is wrong with it."""
    setup, *steps = program
    walk = Walk(setup, is_real=is_real)
    return walk, _run(walk, iter(steps))


def run_at_random(seed, profile, length, *, is_real=True):
    """As `run()`, with steps chosen by chance."""
    chooser = Chooser(seed, profile)
    walk = Walk(chooser.setup(), is_real=is_real)

    def steps():
        while len(walk.program) < length:
            step = chooser.step(walk)
            if step is not None:
                yield step

    return walk, _run(walk, steps())


def _run(walk, steps):
    root = logging.getLogger()
    if walk.is_real:
        root.addHandler(walk.watcher)
    try:
        for step in steps:
            try:
                walk.step(step)
            except (Impossible, Unclear):
                continue
        walk.finish()
    except Wrong as wrong:
        walk.abandon()
        return wrong
    finally:
        if walk.is_real:
            root.removeHandler(walk.watcher)
    return None


def shrink(program):
    """Return a shorter program that is wrong as well, as it is by leaving out no more than one of its steps."""
    setup, *steps = program
    size = len(steps)
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            walk, wrong = run([setup, *fewer])
            if wrong is None:
                at += size
            else:  # what stands behind the step that goes wrong, or was impossible, is not needed either
                steps = min(fewer, walk.program, key=len)
        size //= 2
    return [setup, *steps]


def explain(seed, profile, walk, wrong):
    """Return the shortest program that was found to go wrong as a random walk did, and how."""
    again = run(shrink([walk.setup, *walk.program]))
    if again[1] is not None:
        walk, wrong = again
    return f"walk {seed} of {profile!r}, shrunk: {report(walk, wrong)}"


def report(walk, wrong):
    """Return a program that goes wrong at its last step, as text."""
    program = "\n".join(f"    {line}" for line in (walk.setup, *walk.program))
    return f"the last step goes wrong; what is expected stands behind |\n\n{program}\n\n{wrong}"
