"""The table of what was seen: printed at the end of the run, and written into docs/interop.md."""

from pathlib import Path

from tests.interop.peers import DIRECTIONS, PEERS

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"
BEGIN, END = "<!-- peers: tox run -e interop -- --page -->", "<!-- end of peers -->"
HEAD = ("peer", "versions", *DIRECTIONS)


class Table:
    """What each peer was seen to do, or why it was not asked."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._seen: dict[tuple[str, str], str] = {}

    def prepared(self, peer: str, versions: str) -> None:
        """Note what a peer is made of."""
        self._versions[peer] = versions

    def skipped(self, peer: str, reason: str) -> None:
        """Note why a peer does not run."""
        self._versions[peer] = f"skipped: {reason}"

    def saw(self, peer: str, direction: str, what: str) -> None:
        """Note what a test has seen."""
        self._seen[peer, direction] = what

    def is_whole(self) -> bool:
        """Return whether every peer was seen in every direction."""
        return all((peer.name, direction) in self._seen for peer in PEERS for direction in DIRECTIONS)

    def text(self) -> str:
        """Return the table in Markdown."""
        rows = [HEAD, ["---"] * len(HEAD), *(self._row(peer.name) for peer in PEERS)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def _row(self, peer: str) -> list[str]:
        cells = (self._seen.get((peer, direction), "") for direction in DIRECTIONS)
        return [peer, self._versions.get(peer, "not run"), *cells]


def part_of(page: str) -> str:
    """Return the table that a page has.

    Raises:
        ValueError: the page has no place for one.
    """
    return _split(page)[1].strip()


def write(table: Table) -> None:
    """Put the table into the page."""
    before, _, after = _split(PAGE.read_text())
    PAGE.write_text(f"{before}{BEGIN}\n{table.text()}\n{END}{after}")


def _split(page: str) -> tuple[str, str, str]:
    before, _, rest = page.partition(BEGIN)
    part, end, after = rest.partition(END)
    if end:
        return before, part, after
    msg = f"{PAGE.name} has no part between {BEGIN!r} and {END!r}: give it one"
    raise ValueError(msg)
