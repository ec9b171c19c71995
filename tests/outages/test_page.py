"""The page is written from the figures that are committed, and these show what it promises."""

from xml.etree import ElementTree as ET

from benchmarks.soak import page, plot
from benchmarks.soak.__main__ import FIGURES
from benchmarks.soak.figures import CURVES, Figures
from benchmarks.soak.libraries import LIBRARIES
from benchmarks.soak.load import SIDES
from benchmarks.soak.scenarios import CALM, OUTAGE, applying

MEBIBYTES, MINUTES = 3, 20


def test_page_and_picture_are_those_of_the_figures():
    """After a run, or a change of the tables, `python -m benchmarks.soak --page` writes both."""
    found = Figures.load(FIGURES)
    text = page.PAGE.read_text()
    for name, part in page.parts(found).items():
        assert f"<!-- {name}: python -m benchmarks.soak -->\n{part}\n<!-- end of {name} -->" in text
    assert page.PLOT.read_text() == plot.draw(found)
    assert ET.fromstring(plot.draw(found)).tag.endswith("svg")


def test_nothing_was_lost_doubled_or_left_open():
    """In no scenario there is, and in the soak."""
    found = Figures.load(FIGURES)
    assert [(each["library"], each["title"]) for each in found.found["scenarios"]] == [
        (library.name, each.title) for library in LIBRARIES for each in applying(library, (*OUTAGE, *CALM))
    ]
    assert not any(each["differences"] for each in found.found["scenarios"])
    for what in ("lost", "sent twice by us", "unended", "ended twice", "failures of telemetry"):
        assert [found.total(face, what) for face in page.FACES] == [0, 0, 0], what
    for what in ("missing", "written twice", "unended", "ended twice", "failures of telemetry", "in flight"):
        assert found.soaked(what) == dict.fromkeys(SIDES, 0), what
    assert found.soaked("consumed") == found.soaked("sent") == found.soaked("acknowledged")


def test_soak_was_flat():
    """At the end memory, threads and files lie where they lay; threads and files where the bare client has them."""
    found = Figures.load(FIGURES)
    assert found.minutes >= MINUTES
    for side in SIDES:
        assert found.grown(side, "memory") < MEBIBYTES
    for name in set(CURVES) - {"memory"}:
        (bare, *_), (wrapped, *_) = ({*found.quarters(side, name)} for side in SIDES)
        assert found.quarters("wrapped", name) == [wrapped] * 4
        assert bare == wrapped
