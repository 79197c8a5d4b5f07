"""Model x sampler by budget: one number a cell, the best of each budget outlined."""

from bench.report.formats import TIED, arrow, compact, model_title, number, sampler_title
from bench.report.page.markup import escaped, tag
from bench.report.results import Results
from bench.report.standing import BEST


def matrix(results: Results) -> str:
    """Returns the matrix of the first metric, empty if no row has a budget."""
    name = results.first_metric
    rows = results.board[results.board["budget"].notna()]
    if name is None or rows.empty:
        return ""
    budgets = sorted(rows["budget"].unique())
    groups = [results.lines[index] for index in rows.index]
    titles = [
        (model_title(group["train"], group["snapshot"], group["ema"]), sampler_title(group))
        for group in groups
    ]
    places = {
        (*title, group["budget"]): index
        for title, index, group in zip(titles, rows.index, groups, strict=True)
    }
    head = "".join(tag("th", escaped(text), {"scope": "col"}) for text in ("model", "sampler"))
    head += "".join(tag("th", escaped(f"{compact(budget)} NFE")) for budget in budgets)
    lines = []
    for title in dict.fromkeys(titles):
        cells = "".join(tag("td", escaped(text)) for text in title)
        cells += "".join(_cell(results, places.get((*title, budget)), name) for budget in budgets)
        lines.append(tag("tr", cells))
    table = tag("thead", tag("tr", head)) + tag("tbody", "\n".join(lines))
    direction = arrow(results.metrics[name].higher_is_better)
    note = f"{name} {direction}; outlined: the best of its budget; {TIED}: not told apart from it."
    scroll = tag("div", tag("table", table, {"class": "matrix"}), {"class": "wide", "tabindex": 0})
    return scroll + tag("p", escaped(note), {"class": "note"})


def _cell(results: Results, index: int | None, name: str) -> str:
    if index is None:
        return tag("td")
    group = results.lines[index]
    text = number(group[name]) or group["state"]
    tied = f"{TIED} " if group[f"{name} tied"] is True or group["verdict"] == "tied" else ""
    link = tag("a", escaped(f"{tied}{text}"), {"href": f"#r{index}"})
    return tag("td", link, {"class": "number best" if group["verdict"] == BEST else "number"})
