"""A figure of the report: its name, title and caption, and what draws it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


class Figure(NamedTuple):
    """A figure on disk, ``<name>.png`` and ``<name>.svg``, or why there is none (``fault``)."""

    name: str
    title: str
    caption: str
    fault: str = ""


class LazyFigure(NamedTuple):
    """A figure that is drawn when it is asked for."""

    figure: Figure
    draw: "Callable[[], MatplotlibFigure]"


def slug(text: str) -> str:
    """Returns a file name that a text reads as: ``fd-digits-cnn-8``."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
