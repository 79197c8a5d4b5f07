"""The report as one page: verdict, figure, leaderboard, matrix, samples, appendix."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.report.contents import compared, missing
from bench.report.facts import facts
from bench.report.figures.figure import FEW_MODELS, PARTS, Figure
from bench.report.headline import STATUS, Headline, verdict
from bench.report.models import heldout_losses, models
from bench.report.notices import notices
from bench.report.page.board import board
from bench.report.page.hero import hero
from bench.report.page.markup import block, escaped, tag
from bench.report.page.matrix import matrix
from bench.report.page.pictures import Picture
from bench.report.ranking import ranking
from bench.report.reading import dependencies
from bench.report.results import Results
from bench.report.section import Section
from bench.report.terms import terms

MOST_FIGURES = 9
"""Figures inside the page beside the first one; the rest stay in their folder, named."""
TYPES = {".csv": "text/csv", ".tex": "text/x-tex", ".yaml": "text/yaml", ".md": "text/markdown"}
"""Kinds of files to download, by ending."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load: nothing but what is in it."""
HERE = Path(__file__).parent


def html(
    results: Results,
    figures: Sequence[Figure] = (),
    pictures: Mapping[int, Picture] | None = None,
    downloads: Mapping[str, bytes] | None = None,
) -> str:
    """Returns the report as one page.

    Args:
        figures: Those that were drawn, and those that could not be.
        pictures: Samples of rows, by place in the leaderboard.
        downloads: Files that the page holds, by name.
    """
    drawn = [figure for figure in figures if figure.image and figure.section != "file"]
    shown = sorted(drawn, key=lambda one: PARTS.index(one.section))[:MOST_FIGURES]
    body = [
        tag("header", _verdict(results) + _facts(results, downloads or {})),
        hero(results),
        _part("Leaderboard", board(results, pictures or {}) + _below(results)),
        _part("Model × sampler by budget", matrix(results)),
        *(block(part) for part in compared(results) if not part.is_empty),
        *_figures("Samples", shown, "samples"),
        *_figures("Model by model", shown, "quality"),
        *_figures("Training, held-out loss, bits/dim", shown, "training"),
        _appendix(results, figures, shown),
    ]
    style, script = ((HERE / name).read_text() for name in ("style.css", "page.js"))
    name = escaped(results.name)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{name}</title><style>\n{style}</style>"
        "<noscript><style>.filters{display:none}</style></noscript>"
    )
    content = "\n".join(filter(None, body))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n'
        f'<a class="skip" href="#board">To the leaderboard</a>\n<h1>{name}</h1>\n'
        f'<main>\n{content}\n</main>\n<div id="tip" role="tooltip" hidden></div>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _part(title: str, content: str) -> str:
    return tag("section", tag("h2", escaped(title)) + content) if content else ""


def _verdict(results: Results) -> str:
    """Returns who leads at each budget, how to read that, and the warnings that change it."""
    found = verdict(results)
    sentences = "".join(map(_sentence, found.headlines))
    basis = "".join(tag("p", escaped(text), {"class": "note"}) for text in found.basis)
    warnings = "".join(tag("li", escaped(text)) for text in notices(results))
    return (
        tag("p", escaped(found.intro), {"class": "intro"})
        + (tag("ol", sentences, {"class": "verdicts"}) if sentences else "")
        + basis
        + (tag("ul", warnings, {"class": "warnings"}) if warnings else "")
        + _key(results)
    )


def _sentence(one: Headline) -> str:
    budget = tag(
        "a", escaped(f"{one.budget:g} NFE"), {"href": f"#r{one.leader}", "class": "budget"}
    )
    first, second = (
        f"{tag('b', escaped(name))} {tag('span', escaped(value), {'class': 'value'})}"
        for name, value in zip(one.names, one.values, strict=True)
    )
    by = f"by {tag('b', escaped(one.by), {'class': 'by'})}"
    status = tag("span", escaped(STATUS[one.status]), {"class": f"status {one.status}"})
    why = tag("span", escaped(one.why), {"class": "why"})
    return tag("li", f"{budget} {first} {one.verb} {second} {by} {status} {why}")


def _key(results: Results) -> str:
    """Returns what the words and marks of the page mean, folded."""
    entries = "".join(
        tag("div", tag("dt", escaped(term)) + tag("dd", escaped(text)))
        for term, text in terms(results).items()
    )
    content = tag("summary", "How to read this page") + tag("dl", entries)
    return tag("details", content, {"class": "key"})


def _facts(results: Results, downloads: Mapping[str, bytes]) -> str:
    known = {name: escaped(text) for name, text in facts(results).items()}
    if downloads:
        known["downloads"] = ", ".join(_download(*item) for item in downloads.items())
    entries = "".join(
        tag("div", tag("dt", escaped(name)) + tag("dd", text)) for name, text in known.items()
    )
    return tag("dl", entries, {"class": "facts"})


def _download(name: str, content: bytes) -> str:
    kind = TYPES.get(Path(name).suffix, "application/octet-stream")
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return tag("a", escaped(name), {"href": uri, "download": name})


def _below(results: Results) -> str:
    """Returns the lines that explain the marks of the leaderboard."""
    return "".join(tag("p", escaped(text), {"class": "note"}) for text in ranking(results).below)


def _figures(title: str, shown: Sequence[Figure], section: str) -> list[str]:
    content = "".join(_figure(figure) for figure in shown if figure.section == section)
    return [_part(title, content)] if content else []


def _figure(figure: Figure) -> str:
    uri = f"data:image/png;base64,{base64.b64encode(figure.image).decode()}"
    image = tag("img", "", {"src": uri, "alt": figure.title, "loading": "lazy"})
    caption = tag("figcaption", escaped(figure.caption))
    kind = "plate photos" if figure.section == "samples" else "plate"
    content = image.removesuffix("</img>") + caption
    return tag("figure", content, {"id": figure.name, "class": kind})


def _appendix(results: Results, figures: Sequence[Figure], shown: Sequence[Figure]) -> str:
    """Returns what is folded: the models, losses, pictures, identities, versions."""
    folded = [
        ("Models", [models(results), *heldout_losses(results.inspections)]),
        ("What is missing, identities, versions", [*missing(results), dependencies(results)]),
    ]
    inside = "".join(_figure(figure) for figure in shown if figure.section == "appendix")
    left = [figure.name for figure in figures if not figure.fault and figure not in shown]
    faulty = [f"{one.title} ({one.name}): {one.fault}" for one in figures if one.fault]
    lines = [f"More, in the folder figures: {', '.join(left)}."] if left else []
    sheets = any(figure.name.startswith("samples-") for figure in figures)
    if figures and not sheets and len(results.models) > FEW_MODELS:
        lines.append(
            f"Of more than {FEW_MODELS} models, sheets of each are drawn only if the suite asks "
            "for figures by name: samples-*, budgets-*."
        )
    parts = [_folded(title, "".join(map(block, _filled(parts)))) for title, parts in folded]
    if inside or lines:
        inside += "".join(tag("p", escaped(text), {"class": "note"}) for text in lines)
        parts.insert(1, _folded("More pictures", inside))
    if faulty:
        parts.insert(0, block(Section("Figures that could not be drawn", bullets=faulty)))
    return _part("Appendix", "".join(filter(None, parts)))


def _filled(parts: Sequence[Section]) -> list[Section]:
    return [part for part in parts if not part.is_empty]


def _folded(title: str, content: str) -> str:
    return tag("details", tag("summary", escaped(title)) + content) if content else ""
