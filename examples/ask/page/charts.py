"""The metrics that matter, as small charts in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from examples.ask.metrics import Interval
from examples.ask.waterfall import seconds

WIDTH, HEIGHT, TOP = 600.0, 140.0, 8.0
SHOWN_SECONDS = 60.0


@dataclass(frozen=True)
class Chart:
    """One figure over the last minute.

    Attributes:
        name: the name of the metric.
        latest: its last value, in words.
        greatest: the value at the top of the chart, in words.
        line, area: paths of SVG.
        dots: where values were measured that are no line: x and y.
    """

    title: str
    name: str
    explanation: str
    latest: str
    greatest: str
    line: str
    area: str
    dots: list[tuple[float, float]]


def charts(intervals: Sequence[Interval]) -> list[Chart]:
    """Draw what happened; nothing where nothing is known yet."""
    if not intervals:
        return []
    end = intervals[-1].moment
    shown = [each for each in intervals if each.moment > end - SHOWN_SECONDS]
    waited = [(each.moment, each.waited) for each in shown if each.waited is not None]
    busy = [(each.moment, each.busy) for each in shown]
    lag = [(each.moment, each.lag) for each in shown]
    return [
        _dots("Queue time", "otelkafka.queue.duration", "the mean wait of a record", waited, end),
        _line("Busy share", "otelkafka.consumer.time", "time spent in the consumers' own code", busy, end, 1.0),
        _line("Lag", "otelkafka.consumer.lag", "records behind the last one", lag, end),
    ]


def _line(
    title: str, name: str, explanation: str, values: list[tuple[float, float]], end: float, top: float | None = None
) -> Chart:
    say = "{:.0%}".format if top == 1.0 else "{:.0f}".format
    greatest = top or max(*(value for _, value in values), 1.0)
    places = [_place(moment, value, end, greatest) for moment, value in values]
    line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    area = f"{line} L{places[-1][0]:.1f} {HEIGHT} L{places[0][0]:.1f} {HEIGHT} Z"
    return Chart(title, name, explanation, say(values[-1][1]), say(greatest), line, area, [])


def _dots(title: str, name: str, explanation: str, values: list[tuple[float, float]], end: float) -> Chart:
    greatest = max((value for _, value in values), default=1.0) or 1.0
    latest = seconds(values[-1][1]) if values else "no record"
    places = [_place(moment, value, end, greatest) for moment, value in values]
    return Chart(title, name, explanation, latest, seconds(greatest), "", "", places)


def _place(moment: float, value: float, end: float, greatest: float) -> tuple[float, float]:
    return WIDTH * (1 - (end - moment) / SHOWN_SECONDS), HEIGHT - (HEIGHT - TOP) * value / greatest
