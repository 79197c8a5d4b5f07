"""Text from outside (names, paths, causes, logs) made safe to show: in a terminal, and in a
Markdown table.

A terminal obeys control characters, and a Markdown viewer reads HTML; neither may come from a
file's name or from an exception's message.

Standard library only.
"""

import io
import sys
from typing import TextIO

_KEPT = "\n\t"


def printable(text: str) -> str:
    r"""Returns a text whose control characters are written out, ``\x1b``: line ends and tabs stay.

    Lone surrogates (bytes of a file name that are no UTF-8) are written out as well, so that any
    text can be encoded.
    """
    if text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c in _KEPT or c.isprintable() else _written_out(c) for c in text)


def one_line(text: str) -> str:
    r"""Returns :func:`printable` text on one line: line ends and tabs are written out, ``\n``."""
    if text.isprintable():
        return text
    return "".join(_written_out(c) if c in _KEPT else c for c in printable(text))


def markdown(text: str) -> str:
    """Returns a text as one line of Markdown in which nothing is HTML or a link, and a cell of a
    table does not end.
    """
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")
    return escaped.replace("|", "\\|")


def say(
    text: object = "", *, file: TextIO | None = None, end: str = "\n", flush: bool = False
) -> None:
    """Prints :func:`printable` text."""
    print(printable(str(text)), file=file, end=end, flush=flush)


def let_any_text_through() -> None:
    """Makes standard output and error replace what their encoding lacks, where they would raise in
    mid-run.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
