"""A model of which process span ends when, and which is current where: the rules, without any of otelkafka's code.

They have numbers here, to which the model and the tests refer:

1. A loop's span ends where the loop goes on or is left: at the next `next()`, `iter()`, `poll()`, `close()`, at the next
   record of a list, where an iterator ends or is dropped. Of an iteration wherever it is; of polled lists that list's own,
   and what the consumer's loops have open in this very context.
2. A span that a block (`process()`, `process_batch()`, a handler) has opened or joined ends when that block ends, and by
   nothing else. It joins what is open here, or was when this context was copied, for the same record or the same list.
3. A context is restored only where it was attached: what a copied context has inherited stays.
4. What was attached here, and has ended from another context, is gone as soon as otelkafka runs here.
5. A new span of a loop starts from outside of the consumer's previous one, if that is open still, attached here, and has
   nothing but spans of loops inside.
6. A batch ends the span of a loop that is open here for one of its records, and that no block holds.
7. A record with a context is its child ("parent") and links to the current span, or links to it ("link"). Otherwise a
   span is a child of the current one. A batch is that, and links to the contexts of its records.
8. A span that ends inside-out leaves what was opened inside; when that ends, what is outside of both comes back.

Each method of `Model` first raises `Unclear` where the rules can be read in two ways, and then changes the model.
"""

from dataclasses import dataclass, field


class Unclear(Exception):
    """The rules do not say what happens, or it can be read in two ways."""


@dataclass(eq=False)
class Span:
    """A span, or the context in the headers of a record.

    Attributes:
        context: the `SpanContext` that it turned out to have; the comparison sets it.
        frame: where it was made current.
        blocks: those that hold it, the outermost first.
        failures: how many exceptions are recorded on it.
    """

    name: str
    parent: "Span | None" = None
    links: frozenset = frozenset()
    is_sampled: bool = True
    given: object = None
    of_process: bool = False
    of_loop: "Consumer | None" = None
    context: object = None
    frame: "Frame | None" = None
    blocks: list = field(default_factory=list)
    ended: bool = False
    failures: int = 0

    def is_held_in(self, place):
        return any(block.place is place for block in self.blocks)


@dataclass(eq=False)
class Frame:
    """A context that was attached: of a loop, a block or the application. It never changes, but for being left.

    Attributes:
        left: the loop or the block is over here, though the span may go on elsewhere.
    """

    kind: str
    span: Span | None
    outer: "Frame | None"
    place: "Place"
    left: bool = False

    def is_gone_in(self, place):
        """Rules 3 and 4: where it was attached, and nowhere else."""
        return self.kind != "application" and self.place is place and (self.left or self.span.ended)


class Place:
    """A `contextvars.Context`: a copy of another has inherited what was current and open there (rule 3).

    Attributes:
        top: what was attached last, and is current.
        known: the process spans that were opened here, or in what it was copied from before.
        entered: the blocks and contexts of the application that are entered here, the innermost last.
    """

    def __init__(self, name, parent=None):
        self.name = name
        self.top = parent.top if parent else None
        self.known = list(parent.known) if parent else []
        self.entered = []

    @property
    def current(self):
        return self.top.span if self.top else None

    def without_gone(self):
        """Rules 4 and 8: what is current once otelkafka has run here."""
        frame = self.top
        while frame is not None and frame.is_gone_in(self):
            frame = frame.outer
        return frame

    def clean(self):
        self.top = self.without_gone()

    def frames(self):
        frame = self.top
        while frame is not None:
            yield frame
            frame = frame.outer

    def open_for(self, given):
        return [span for span in self.known if span.given == given and not span.ended]


@dataclass(eq=False)
class Record:
    """A record of a consumer; its origin is the context in its headers, None for none."""

    name: str
    origin: Span | None
    owner: "Consumer"


@dataclass(eq=False)
class Consumer:
    """A consumer.

    Attributes:
        iterated: the span of its iteration.
        loops: what its loops have open: a span, and the loop whose it is.
    """

    name: str
    relation: str = "parent"
    dispatches: bool = True
    records: list = field(default_factory=list)
    position: int = 0
    loops: dict = field(default_factory=dict)
    is_closed: bool = False

    def has_handed_over(self, record):
        return record in self.records[: self.position]

    def take(self, count):
        taken = self.records[self.position : self.position + count]
        self.position += len(taken)
        return taken


@dataclass(eq=False)
class Iterator:
    """What hands over the records of a consumer: of its iteration, where `records` is None, or of a polled list."""

    consumer: Consumer
    records: list | None = None


@dataclass(eq=False)
class Block:
    """A block that was entered.

    Attributes:
        joined: whether the span was open before.
        frame: of its own, where it has made a span that it joined current again.
    """

    place: Place
    span: Span
    joined: bool
    frame: Frame | None = None


class Model:
    """What has happened.

    Args:
        consumers: all there are.

    Attributes:
        started: spans, in that order.
        ended: spans, in that order.
    """

    def __init__(self, consumers):
        self.consumers = consumers
        self.started = []
        self.ended = []

    # Loops.

    def next(self, here, iterator):
        """`next(consumer)`, or a step of one of its iterators; returns the record, None at the end."""
        consumer = iterator.consumer
        record = next(iter(consumer.records[consumer.position :]), None)
        opens = record if consumer.dispatches else None
        self._go_on(here, consumer, self._of_iteration(consumer), opens, iterator)
        consumer.take(1)
        return record

    def advance(self, here, iterator):
        """A step of the iterator of a list; returns the record, None at the end."""
        consumer, own = iterator.consumer, self._of(iterator)
        if not iterator.records:
            self.drop(here, iterator)
            return None
        record = iterator.records[0]
        if here.open_for(record):
            raise Unclear("a record of a list that a block holds already: is it joined?")
        self._go_on(here, consumer, own, record, iterator)
        return iterator.records.pop(0)

    def stop(self, here, consumer):
        """`iter()`, `poll()` or `close()`."""
        self._go_on(here, consumer, self._of_iteration(consumer))

    def drop(self, here, iterator):
        """The loop is left, by the end of its records or before."""
        for span in self._of(iterator):
            self._check_innermost(here, here.top, span)
            self._leave(span, here)
            if here.current is span:
                here.clean()

    def may_have_run(self, here, current):
        """Accept both readings of rule 4 for what it does not name: `commit()`, the end of an iterator or of a block."""
        frame = here.without_gone()
        if current == (frame.span.context if frame and frame.span else None):
            here.top = frame

    def _of(self, iterator):
        return [span for span, loop in iterator.consumer.loops.items() if loop is iterator]

    def _of_iteration(self, consumer):
        return [span for span, loop in consumer.loops.items() if loop.records is None]

    def _go_on(self, here, consumer, own, record=None, iterator=None):
        """Rules 1 and 5: `own` and what the consumer's loops have open here is left, then the record's span opens."""
        opened = [span for span in here.known if span.of_loop is consumer and span.frame.place is here]
        opened_here = [span for span in opened if not span.ended and not span.frame.left]
        left = [*opened_here, *(span for span in own if span not in opened_here)]
        top = here.without_gone()
        last = next((span for span in reversed(opened_here) if not span.is_held_in(here)), None)
        rewinds = last is not None and record is not None and self._has_only_loops_inside(here, top, last)
        if record is not None and opened:
            self._check_rewound(here, top, opened[-1])
        for span in opened_here:
            if span.blocks and span not in consumer.loops and not span.is_held_in(here):
                raise Unclear("its loop has gone on elsewhere, another context holds it: is it left here?")
            if span is not last or not rewinds:
                self._check_innermost(here, top, span)
        here.top = top
        for span in left:
            self._leave(span, here)
        if rewinds:
            here.top = last.frame.outer
        here.clean()
        if record is not None:
            span = self._open(here, "loop", record.name, [record], consumer.relation)
            span.of_loop = consumer
            consumer.loops[span] = iterator

    def _check_innermost(self, here, top, span):
        is_held_elsewhere = span.frame.place is here and span.blocks and not span.is_held_in(here)
        if is_held_elsewhere and top is not span.frame and span.frame in here.frames():
            raise Unclear(
                "a loop lets go of what another context holds, and it is not the innermost: does rule 8 hold?"
            )

    def _check_rewound(self, here, top, last):
        if last.ended and self._has_only_loops_inside(here, top, last):
            outer = last.frame.outer
            while outer is not None and outer.is_gone_in(here):
                outer = outer.outer
            if outer is not top:
                raise Unclear("poll() or a block has ended the loop's last span, others go on inside: is it rule 5?")

    def _has_only_loops_inside(self, here, top, span):
        """Rule 5: whether the loop's last span has nothing inside but spans of loops."""
        inside, frame = [], top
        while frame is not None and frame is not span.frame:
            inside.append(frame)
            frame = frame.outer
        if frame is None:  # the application has restored what is outside of it, or another consumer has
            return False
        if any(each.kind == "application" or each.span.is_held_in(here) for each in inside):
            return False
        if any(each.kind == "block" or each.span.blocks for each in inside):
            raise Unclear("what is inside was a block's and is over, or is another context's: is it in between?")
        return True

    def _leave(self, span, here):
        """Rules 1 and 2: a loop lets go of its span, and ends it where no block holds it."""
        self._let_go(span)
        if not span.blocks:
            self._end(span)
        elif here is span.frame.place and not span.is_held_in(here):
            span.frame.left = True

    # Blocks.

    def enter(self, here, given, name, records, relation):
        """`process()`, `process_batch()` or a handler; `given` is the record, or what stands for the list."""
        is_batch = not isinstance(given, Record)
        found = here.open_for(given)
        self._check_joins(here, found)
        looped = [] if found or not is_batch else self._looped(here, records)
        here.clean()
        for span in looped:
            self._leave(span, here)
        here.clean()
        span = found[0] if found else self._open(here, "block", name, records, relation, given)
        block = Block(here, span, joined=bool(found))
        span.blocks.append(block)
        here.entered.append(block)
        return block

    def _check_joins(self, here, found):
        if len(found) > 1:
            raise Unclear("several spans are open here for this record: which one is joined?")
        for span in found:
            if span.frame.left:
                raise Unclear("the loop has left it here, another context holds it: is it joined?")
            if span.frame.place is not here and all(frame.span is not span for frame in here.frames()):
                raise Unclear("it was open in what this is a copy of, but not current: is it joined?")

    def _looped(self, here, records):
        """Rule 6: the spans of loops that a batch ends."""
        found = [span for span in here.known if not span.ended and span.given in records]
        loops = [span for span in found if any(span in consumer.loops for consumer in self.consumers)]
        if any(span.frame.place is not here or (span.blocks and not span.is_held_in(here)) for span in loops):
            raise Unclear("a batch of what another context has opened or holds: is it ended?")
        return [span for span in loops if not span.blocks]

    def made_current(self, here, block):
        """Accept that a block makes a span that it has joined current again, or leaves what is current as it is."""
        block.frame = here.top = Frame("block", block.span, here.top, here)

    def leave(self, here, block, *, failed):
        """Leave the innermost of what is entered here, which is a block."""
        span = block.span
        if span.blocks[-1] is not block:
            raise Unclear("another context has joined it since: which block is the outermost?")
        here.entered.pop()
        span.blocks.pop()
        span.failures += failed
        if block.frame is not None:
            block.frame.left = True
        if not span.blocks:
            self._end(span)
        if here.current is span:
            here.clean()

    # The application.

    def attach(self, here, name=None):
        """Attach a context of the application's; with a name, that of a new span of its."""
        span = here.current
        if name is not None:
            span = self._start(here, name)
        here.top = Frame("application", span, here.top, here)
        here.entered.append(here.top)
        return here.top

    def detach(self, here, frame, *, ends):
        """Restore what was current when it was attached."""
        here.entered.pop()
        here.top = frame.outer
        if ends:
            self._end(frame.span)

    def probe(self, here):
        """Start and end a span of the application."""
        self._end(self._start(here, "probe"))

    def send(self, here):
        """A send, whose span is never current outside of it."""
        here.clean()
        self._end(self._start(here, "send"))

    # Spans.

    def _start(self, here, name):
        parent = here.current
        span = Span(name, parent, is_sampled=parent.is_sampled if parent else True)
        self.started.append(span)
        return span

    def _open(self, here, kind, name, records, relation, given=None):
        """Rule 7: start a process span from what is current, and make it current."""
        ambient = here.current
        origins = [record.origin for record in records if record.origin]
        is_batch = given is not None and not isinstance(given, Record)
        if is_batch or not origins or relation == "link":
            parent, links = ambient, [("creation", origin) for origin in origins]
        else:
            parent, links = origins[0], [("ambient", ambient)] if ambient else []
        is_sampled = parent.is_sampled if parent else True
        span = Span(name, parent, frozenset(links), is_sampled, given or records[0], of_process=True)
        span.frame = here.top = Frame(kind, span, here.top, here)
        here.known.append(span)
        self.started.append(span)
        return span

    def _end(self, span):
        span.ended = True
        self._let_go(span)
        self.ended.append(span)

    def _let_go(self, span):
        for consumer in self.consumers:
            consumer.loops.pop(span, None)
