"""The page about other clients shows all that `tox run -e interop` tries, and a tool that is missing is said."""

import pytest

from tests.interop import drivers
from tests.interop.peers import PEERS
from tests.interop.running import Missing
from tests.interop.table import HEAD, PAGE, Table, part_of


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_page_has_every_peer_in_every_direction():
    """A row for each peer, with its versions and what was seen: `tox run -e interop -- --page` writes it again."""
    head, _, *rows = map(cells_of, part_of(PAGE.read_text()).splitlines())
    assert head == list(HEAD)
    assert [row[0] for row in rows] == [peer.name for peer in PEERS]
    for row in rows:
        assert len(row) == len(HEAD)
        assert all(row)
        assert not row[1].startswith(("skipped", "not run"))


def test_page_without_a_place_is_refused():
    """An error that names what is missing."""
    with pytest.raises(ValueError, match="has no part between"):
        part_of("a page")


@pytest.mark.parametrize(
    ("prepare", "tool"), [(drivers.otelsarama, "go"), (drivers.java_library, "javac"), (drivers.kcat, "kcat")]
)
def test_missing_tool_is_said(prepare, tool, monkeypatch, tmp_path):
    """The tool, and what has it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=f"^{tool} is not installed: (apt|pip) install "):
        prepare(tmp_path)


def test_skipped_peer_is_in_the_table():
    """With its reason, and the page is not written from it."""
    table = Table()
    table.skipped("kcat", "kcat is not installed")
    assert "| kcat | skipped: kcat is not installed |" in table.text()
    assert not table.is_whole()
