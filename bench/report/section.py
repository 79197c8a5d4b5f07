"""Parts of the report, which Markdown and the page mark up each in its own way."""

from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell of a table; the best of its column is ``strong``."""

    text: str
    strong: bool = False


class Section(NamedTuple):
    """Text, a table with lines below it, a list."""

    title: str
    text: Sequence[str] = ()
    headers: Sequence[str] = ()
    cells: Sequence[Sequence[Cell]] = ()
    bullets: Sequence[str] = ()
    below: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show: no rows, no list, and no text but that of a table."""
        return not (self.cells or self.bullets or (self.text and not self.headers))
