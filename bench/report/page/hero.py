"""The figure at the head of the page, with its switches: every view is there, one is shown.

The switches are radio buttons and the views are chosen by style sheets, so that they work without a
script; the script adds the row under the pointer and the isolation of a model.
"""

from collections.abc import Sequence

from bench.report.figures.style import colours, lap_of
from bench.report.page.chart import NARROW, WIDE, samplers_of, svg
from bench.report.page.markup import escaped, tag
from bench.report.page.views import AXES, Switched, views
from bench.report.results import Results

CORNERS = ("50%", "0", "0 50%")
"""Roundness of a model's swatch, by the shape of its marks."""


def hero(results: Results) -> str:
    """Returns the figure, empty if no row is finished."""
    found = views(results)
    if not found:
        return ""
    metrics = list(dict.fromkeys(one.metric for one in found))
    costs = list(dict.fromkeys(one.cost for one in found))
    switches = _switch("metric", "Metric", metrics) + _switch(
        "cost", "against", [AXES[cost] for cost in costs]
    )
    shown = [_view(results, one, metrics.index(one.metric), costs.index(one.cost)) for one in found]
    rules = tag("style", _rules(results, len(metrics), len(costs)))
    caption = tag("figcaption", escaped(_caption(found)))
    form = tag("form", switches, {"class": "switches"})
    content = rules + form + tag("div", "".join(shown), {"class": "views"}) + caption
    return tag("figure", content, {"id": "hero", "class": "hero"})


def _switch(name: str, legend: str, labels: Sequence[str]) -> str:
    if len(labels) < 2:
        button = _radio(name, 0, labels[0], hidden=True)
        return tag("span", button, {"hidden": True})
    buttons = "".join(_radio(name, index, label) for index, label in enumerate(labels))
    return tag("fieldset", tag("legend", escaped(legend)) + buttons)


def _radio(name: str, index: int, label: str, *, hidden: bool = False) -> str:
    attributes = {"type": "radio", "name": name, "id": f"{name}{index}", "value": index}
    checked = {"checked": True} if index == 0 else {}
    written = tag("input", "", {**attributes, **checked}).removesuffix("</input>")
    return written + tag("label", escaped(label), {"for": f"{name}{index}"})


def _view(results: Results, one: Switched, metric: int, cost: int) -> str:
    drawn = svg(one.view, WIDE) + svg(one.view, NARROW)
    return tag("div", _models(results, one) + drawn, {"class": f"view v{metric}-{cost}"})


def _rules(results: Results, metrics: int, costs: int) -> str:
    """Returns which switches show which view, and the colour of each model."""
    rules = [
        f".hero:has(#metric{i}:checked):has(#cost{j}:checked) .v{i}-{j}{{display:block}}"
        for i in range(metrics)
        for j in range(costs)
    ]
    palette = colours(len(results.models))
    rules += [
        f".c{index}{{--own:{colour};--corner:{CORNERS[lap_of(index)]}}}"
        for index, colour in enumerate(palette)
    ]
    return "\n".join(rules)


def _models(results: Results, one: Switched) -> str:
    """Returns a button for each model, which says which samplers stand behind its points, and which
    the script makes isolate its line.
    """
    buttons = []
    for line in one.view.lines:
        swatch = tag("span", "", {"class": "swatch"})
        said = "; ".join(
            f"{sampler} at {', '.join(budgets)}" if budgets else sampler
            for sampler, budgets in samplers_of(line).items()
        )
        content = f"{swatch}{tag('b', escaped(line.model))} {escaped(said)}"
        attributes = {"type": "button", "class": f"isolate c{line.number}"}
        attributes |= {"data-model": str(line.number), "aria-pressed": "false"}
        buttons.append(tag("button", content, attributes))
    label = "The sampler behind each point, by budget (NFE)"
    text = tag("span", f"{label}:", {"class": "note"})
    return tag(
        "div", text + "".join(buttons), {"class": "models", "role": "group", "aria-label": label}
    )


def _caption(found: Sequence[Switched]) -> str:
    first = found[0].view
    parts = [
        "One line per model: its best sampler at each budget, at the compute that it measured; "
        "on a wide screen, its name stands where another one takes over. "
        "Whiskers: the 95 % interval of the table. Dotted steps: the Pareto front of all rows."
    ]
    if any(line.loose for line in first.lines):
        parts.append("Open circles: adaptive samplers, at the compute that they measured.")
    if first.floor is not None:
        parts.append("Band: held-out real images, mean and standard deviation over sets.")
    if any(one.view.published for one in found):
        parts.append("Hollow diamonds: published numbers; without a stated cost, at the right end.")
    return " ".join(parts)
