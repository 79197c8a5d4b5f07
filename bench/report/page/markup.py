"""HTML and SVG from plain values: whatever comes from outside is escaped here."""

import html
from collections.abc import Mapping, Sequence

from bench.printable import printable
from bench.report.section import Cell, Section


def escaped(text: object) -> str:
    """Returns a text in which nothing is markup, in content and in a quoted attribute."""
    return html.escape(printable(str(text)))


def tag(name: str, content: str = "", attributes: Mapping[str, object] | None = None) -> str:
    """Returns an element.

    Args:
        content: Markup, already escaped.
        attributes: Plain values; None leaves one out, True writes the name alone.
    """
    written = "".join(
        f" {key}" if value is True else f' {key}="{escaped(value)}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>{content}</{name}>"


def block(part: Section, *, level: int = 2) -> str:
    """Returns a section: heading, text, table, lines below it, list."""
    lines = [tag(f"h{level}", escaped(part.title))] if part.title else []
    lines += [tag("p", escaped(text)) for text in part.text]
    lines += [plain_table(part.headers, part.cells)] if part.cells else []
    lines += [tag("p", escaped(text), {"class": "note"}) for text in part.below]
    if part.bullets:
        lines.append(tag("ul", "".join(tag("li", escaped(text)) for text in part.bullets)))
    return "\n".join(lines)


def plain_table(headers: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str:
    """Returns a table that scrolls sideways where it is too wide."""
    head = "".join(tag("th", escaped(header), {"scope": "col"}) for header in headers)
    body = "\n".join(tag("tr", "".join(map(_cell, row))) for row in cells)
    table = tag("table", tag("thead", tag("tr", head)) + tag("tbody", f"\n{body}\n"))
    return tag("div", table, {"class": "wide", "tabindex": 0})


def _cell(cell: Cell) -> str:
    text = escaped(cell.text).replace("`", "")
    return tag("td", tag("strong", text) if cell.strong else text)
