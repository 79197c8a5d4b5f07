"""The report as one HTML page, whose figures are links to the files beside it."""

import html as markup
from collections.abc import Sequence

from bench.printable import printable
from bench.report.contents import sections
from bench.report.figures.figure import Figure
from bench.report.results import Results
from bench.report.section import Cell, Section

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2rem auto; \
padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.15rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #888; } tr:hover td { background: #f5f5f5; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
figcaption { color: #555; font-size: 13px; max-width: 60rem; }
li { overflow-wrap: anywhere; }
"""


def html(results: Results, figures: Sequence[Figure] = ()) -> str:
    """Returns the report as one page: tables, figures, then notes."""
    first, *parts = sections(results)
    name = _escaped(results.name)
    drawn = [figure for figure in figures if not figure.fault]
    faulty = [f"{one.title} ({one.name}): {one.fault}" for one in figures if one.fault]
    body = [f"<h1>{name}</h1>", _block(first), *(_block(part) for part in parts if part.cells)]
    body += ["<h2>Figures</h2>"] if drawn else []
    body += [_figure(figure) for figure in drawn]
    body += [_block(Section("Figures that could not be drawn", bullets=faulty))] if faulty else []
    body += [_block(part) for part in parts if not part.cells]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{STYLE}</style>"
    )
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{content}\n'
        "</body>\n</html>\n"
    )


def _block(part: Section) -> str:
    """Returns one section."""
    lines = [f"<h2>{_escaped(part.title)}</h2>"] if part.title else []
    lines += [f"<p>{_escaped(text)}</p>" for text in part.text]
    if part.cells:
        head = "".join(f"<th>{_escaped(header)}</th>" for header in part.headers)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in part.cells)
        lines.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n'
            "</tbody></table></div>"
        )
    lines += [f"<p>{_escaped(text)}</p>" for text in part.below]
    if part.bullets:
        items = "".join(f"<li>{_escaped(text)}</li>" for text in part.bullets)
        lines.append(f"<ul>{items}</ul>")
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text).replace("`", "")
    return f"<td><strong>{text}</strong></td>" if cell.strong else f"<td>{text}</td>"


def _figure(figure: Figure) -> str:
    title, caption, name = _escaped(figure.title), _escaped(figure.caption), figure.name
    image = f'<img src="figures/{name}.png" alt="{title}">'
    link = f'<a href="figures/{name}.svg">{image}</a>'
    return f'<figure id="{name}">{link}<figcaption>{caption}</figcaption></figure>'


def _escaped(text: str) -> str:
    return markup.escape(printable(text))
