"""A figure of the report: its name, title and caption, and what draws it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


Part = Literal["quality", "samples", "training", "appendix", "file"]
"""Where a figure stands on the page, in this order; ``file``: nowhere, only in its folder."""
PARTS: tuple[Part, ...] = get_args(Part)


FEW_MODELS = 8
"""Models up to which each has figures of its own, unless the suite names figures."""


class Figure(NamedTuple):
    """A figure on disk, ``<name>.png`` and ``<name>.svg``, or why there is none (``fault``).

    Args:
        section: Where it stands on the page.
        image: Its PNG, empty until it is drawn.
    """

    name: str
    title: str
    caption: str
    section: Part = "appendix"
    fault: str = ""
    image: bytes = b""


class LazyFigure(NamedTuple):
    """A figure that is drawn when it is asked for."""

    figure: Figure
    draw: "Callable[[], MatplotlibFigure]"


def slug(text: str) -> str:
    """Returns a file name that a text reads as: ``fd-digits-cnn-8``."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
