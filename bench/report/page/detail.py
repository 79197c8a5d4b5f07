"""What a row of the leaderboard unfolds to: settings, every metric, samples, identity, files."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.report.columns import BITS, BITS_ERROR, BITS_NOTE, DRAW_ERROR, DRAW_SD, GFLOPS
from bench.report.formats import (
    MARKS,
    TIED,
    behind_text,
    bits_text,
    compact,
    mark_bound,
    metric_text,
    number,
    whole,
)
from bench.report.page.markup import escaped, tag
from bench.report.page.pictures import Picture
from bench.report.published import published_of, published_text
from bench.report.results import Results
from bench.suite.claims import words_of

MOST_FILES = 12
"""Files of a row that are named; results.csv has all of them."""


def detail(results: Results, index: int, picture: Picture | None, width: int) -> str:
    """Returns the row below a row of the table, hidden until it is unfolded.

    Args:
        index: Its place in the leaderboard.
        width: Columns of the table.
    """
    group = results.lines[index]
    facts = {name: text for name, text in _facts(results, index).items() if text}
    entries = "".join(
        tag("div", tag("dt", escaped(name)) + tag("dd", escaped(text)))
        for name, text in facts.items()
    )
    content = (_picture(picture) if picture is not None else "") + tag("dl", entries)
    content += tag("p", "To make it again: " + tag("code", escaped(command(results, group))))
    cell = tag("td", tag("div", content, {"class": "detail"}), {"colspan": width})
    return tag("tr", cell, {"class": "more", "id": f"d{index}"})


def command(results: Results, group: Mapping[str, object]) -> str:
    """Returns the command that makes the points of a row."""
    only = ("--only", words_of(str(group["group"])))
    words = shlex.join([results.file or "SUITE.yaml", *results.options, *only])
    return f"python run_bench.py {words}"


def _facts(results: Results, index: int) -> dict[str, str]:
    group = results.lines[index]
    sampled = isinstance(group["sampler"], str)
    clipped = group["clipped_fraction"]
    bits = bits_text(group[BITS], group[BITS_ERROR], (group[DRAW_ERROR], group[DRAW_SD]))
    known = {
        "row": group["group"],
        "state": "" if group["state"] == "done" else f"{group['state']}; {group['cause']}",
        "log": str(group["log"]),
        "settings": group["settings"] if sampled else "",
        "steps": whole(group["steps"]),
        "tolerance": compact(group["tolerance"]),
        "seeds": f"{group['train_seeds']} × {group['sample_seeds']} (trainings × sample seeds)",
        "images": whole(group["count"]),
        **_metrics(results, group),
        "bits/dim": mark_bound(bits, group[BITS_NOTE]) or _text(group[BITS_NOTE]),
        "GFLOPs per image": number(group[GFLOPS]),
        "clipped pixels": "" if pd.isna(clipped) else f"{clipped:.1%}",
        "beaten in NFE by": _text(group.get("beaten in NFE by")),
        "beaten in GFLOPs by": _text(group.get("beaten in GFLOPs by")),
        "model": ", ".join(
            filter(None, map(_text, (group["method"], group["variant"], group["preset"])))
        ),
        "weights": _text(group["weights"]),
        "device": _text(group["device"]),
        "identity": "; ".join(f"{name} {short}" for name, short in group["identity"].items()),
        "keys of the samples": group["keys"],
        "keys of the trainings": group["train_keys"],
    }
    files = _files(results.group_at(index).column("records"))
    return known | {"files in the store": ", ".join(files)}


def _metrics(results: Results, group: Mapping[str, Any]) -> dict[str, str]:
    found = published_of(results, group)
    texts = {}
    for name in results.metrics:
        scope = group[f"{name} interval over"]
        text = metric_text(group, name)
        text += f" (over {scope} alone)" if scope in MARKS else ""
        behind = behind_text(group, name)
        tied = f"{TIED} " if group[f"{name} tied"] is True else ""
        text += f"; {tied}{behind}" + (" behind the best" if behind != "best" else "") * bool(
            behind
        )
        if name in found:
            text += f"; published {published_text(group, found, name)}: {found[name].source}"
        texts[name] = text.strip("; ")
    return texts


def _files(records: Iterable[Any]) -> Sequence[str]:
    """Returns the distinct files behind the numbers of some points, the first of them."""
    known = (text for text in records if isinstance(text, str))
    pairs = (entry.partition("=")[2] for text in known for entry in text.split("; "))
    files = list(dict.fromkeys(file for file in pairs if file))
    more = len(files) - MOST_FILES
    return [*files[:MOST_FILES], *([f"and {more} more in results.csv"] if more > 0 else [])]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _picture(picture: Picture) -> str:
    image = tag("img", "", {"src": picture.uri, "alt": picture.caption, "class": "pixels"})
    warned = tag("strong", escaped(f" {picture.warning}")) if picture.warning else ""
    caption = tag("figcaption", escaped(picture.caption) + warned)
    return tag("figure", image.removesuffix("</img>") + caption)
