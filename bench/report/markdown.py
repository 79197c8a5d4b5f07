"""The report as Markdown whose tables are aligned as plain text too."""

from collections.abc import Sequence

from bench.printable import markdown as escaped
from bench.report.contents import sections
from bench.report.results import Results
from bench.report.section import Cell


def markdown(results: Results) -> str:
    """Returns the report as Markdown."""
    lines = [f"# {results.name}", ""]
    for part in sections(results):
        lines += [f"## {escaped(part.title)}", ""] if part.title else []
        for text in part.text:
            lines += [escaped(text), ""]
        if part.cells:
            lines += [*_aligned(part.headers, part.cells), ""]
        for text in part.below:
            lines += [escaped(text), ""]
        if part.bullets:
            lines += [*(f"- {escaped(text)}" for text in part.bullets), ""]
    return "\n".join(lines)


def _aligned(headers: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    texts = [
        [f"**{escaped(cell.text)}**" if cell.strong else escaped(cell.text) for cell in row]
        for row in cells
    ]
    heads = [escaped(header) for header in headers]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    rule = ["-" * width for width in widths]
    return [
        "| " + " | ".join(t.ljust(width) for t, width in zip(row, widths, strict=True)) + " |"
        for row in (heads, rule, *texts)
    ]
