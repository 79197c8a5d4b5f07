"""One view of the page's figure as SVG: lines with whiskers, their labels, the Pareto front."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bench.report.figures.style import lap_of
from bench.report.page.axis import Axis, axis_of, tick_text
from bench.report.page.markup import escaped, tag

ROOM = 3
"""Factor beyond the means at which an axis of intervals ends: a wide one would leave no room."""
LINE_HEIGHT = 14
LETTER = 6.5
"""Width of a letter in the smallest type, about."""
SHAPES = ("", "M{0:g} {1:g}m-4-4h8v8h-8z", "M{0:g} {1:g}m0-6l6 6l-6 6l-6-6z")
"""Outlines of marks by what :func:`bench.report.figures.style.lap_of` says; empty: a circle."""


class Mark(NamedTuple):
    """One row of the leaderboard in the figure.

    Args:
        low: Of the interval, NaN for none.
        tip: What is shown of the row.
        row: Its place in the leaderboard; -1 for a published number.
        sampler: Of the row, ``budget`` its budget as text, empty for none.
    """

    x: float
    y: float
    low: float
    high: float
    tip: str
    row: int
    sampler: str = ""
    budget: str = ""


class Line(NamedTuple):
    """The rows of one model.

    Args:
        number: Of the model: it gives the colour and the shape of the marks.
        loose: Rows that no line joins: those of adaptive samplers.
    """

    model: str
    number: int
    marks: Sequence[Mark]
    loose: Sequence[Mark] = ()


def samplers_of(line: Line) -> dict[str, list[str]]:
    """Returns at which budgets each sampler of a line stands; adaptive ones stand at none."""
    found: dict[str, list[str]] = {}
    for mark in (*line.marks, *line.loose):
        budgets = found.setdefault(mark.sampler, [])
        budgets += [mark.budget] if mark.budget and mark.budget not in budgets else []
    return found


class View(NamedTuple):
    """What one view shows.

    Args:
        front: Corners of the Pareto front, by rising cost.
        floor: Mean and standard deviation of what real images score, None if not known.
        published: Published numbers; those of unknown cost have NaN for it.
        higher: Whether a higher value is better.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    front: Sequence[tuple[float, float]]
    floor: tuple[float, float] | None
    published: Sequence[Mark]
    logarithmic: bool
    higher: bool


class Size(NamedTuple):
    """Pixels of a view, and its margins."""

    name: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    letters: int


WIDE = Size("broad", 960, 420, 62, 150, 44, 22)
NARROW = Size("narrow", 380, 320, 42, 64, 40, 9)


def svg(view: View, size: Size) -> str:
    """Returns a view at one size."""
    x, y = _axes(view, size)
    parts = [_floor(view, x, y), _grid(view, x, y, size), _front(view, x, y)]
    labels = _labels(view, x, y, size)
    parts += [_line(line, x, y, labels[line.number]) for line in view.lines]
    parts += _changes(view, x, y, labels.values()) if size is WIDE else ()
    parts += [_published(view, x, y)]
    described = tag("title", escaped(view.title))
    attributes = {
        "viewBox": f"0 0 {size.width} {size.height}",
        "class": f"chart {size.name}",
        "role": "group",
        "aria-label": view.title,
    }
    return tag("svg", described + "".join(parts), attributes)


def _axes(view: View, size: Size) -> tuple[Axis, Axis]:
    marks = [mark for line in view.lines for mark in (*line.marks, *line.loose)]
    published = [mark for mark in view.published if mark.x == mark.x]
    xs = [mark.x for mark in (*marks, *published)]
    x = axis_of(xs, (size.left, size.width - size.right), logarithmic=True, margin=0.04)
    means = [mark.y for mark in (*marks, *view.published)]
    ends = [end for mark in marks for end in (mark.low, mark.high) if end == end]
    if view.floor is not None:
        means += [view.floor[0] + view.floor[1], max(view.floor[0] - view.floor[1], 0.0)]
    if view.logarithmic:
        means = [value for value in means if value > 0]
        least, most = min(means) / ROOM, max(means) * ROOM
    else:
        room = max(means) - min(means) or abs(means[0]) or 1.0
        least, most = min(means) - room, max(means) + room
    values = [*means, *(min(max(end, least), most) for end in ends)]
    pixels = (size.height - size.bottom, 12)
    return x, axis_of(values, pixels, logarithmic=view.logarithmic)


def _grid(view: View, x: Axis, y: Axis, size: Size) -> str:
    bottom, right = y.start, x.end
    parts = []
    for value in x.ticks():
        at = x.at(value)
        parts.append(f'<path class="grid" d="M{at} {bottom}V{y.end}"/>')
        parts.append(_text(at, bottom + 16, tick_text(value), "tick middle"))
    for value in y.ticks(24):
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{x.start} {at}H{right}"/>')
        parts.append(_text(x.start - 6, at + 4, tick_text(value), "tick end"))
    middle = (x.start + right) / 2
    parts.append(_text(middle, size.height - 6, view.x_label, "label middle"))
    parts.append(_text(x.start + 4, y.end + 8, view.y_label, "label"))
    return "".join(parts)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escaped(text)}</text>'


def _floor(view: View, x: Axis, y: Axis) -> str:
    if view.floor is None:
        return ""
    mean, deviation = view.floor
    top, bottom = y.at(mean + deviation), y.at(max(mean - deviation, y.low))
    band = f'<rect class="floor" x="{x.start}" y="{top}" width="{x.end - x.start:g}"'
    line = f'<path class="real" d="M{x.start} {y.at(max(mean, y.low))}H{x.end}"/>'
    spread = f" ± {deviation:.2g}" if deviation > 0 else ""
    said = f"real images {mean:.2g}{spread}"
    label = _text(x.start + 4, y.at(max(mean, y.low)) - 4, said, "tick")
    return f'{band} height="{max(bottom - top, 1):g}"/>{line}{label}'


def _front(view: View, x: Axis, y: Axis) -> str:
    """Returns steps: what the best row so far reaches, until a dearer one is better."""
    if not view.front:
        return ""
    (first_x, first_y), *rest = view.front
    path = f"M{x.at(first_x)} {y.at(first_y)}"
    path += "".join(f"H{x.at(cost)}V{y.at(value)}" for cost, value in rest)
    corners = [(x.at(cost), y.at(value)) for cost, value in view.front]
    ends = [*(at for at, _ in corners[1:]), x.end]
    _, end, level = max((end - at, end, y) for (at, y), end in zip(corners, ends, strict=True))
    better = level - 5 if view.higher else level + 13  # on that side of the front there is nothing
    label = _text(end - 10, better, "Pareto front", "tick end")
    return f'<path class="steps" d="{path}H{x.end}"/>{label}'


def _line(line: Line, x: Axis, y: Axis, label: tuple[float, float, str]) -> str:
    points = [(x.at(mark.x), y.at(mark.y)) for mark in line.marks]
    path = "M" + "L".join(f"{at[0]} {at[1]}" for at in points) if points else ""
    parts = [f'<path class="line" d="{path}"/>'] if len(points) > 1 else []
    shape = SHAPES[lap_of(line.number)]
    parts += [_mark(mark, x, y, "dot", shape) for mark in line.marks]
    parts += [_mark(mark, x, y, "dot loose", shape) for mark in line.loose]
    at_x, at_y, text = label
    parts.append(_text(at_x, at_y, text, "name"))
    return tag("g", "".join(parts), {"class": f"model c{line.number}", "data-model": line.number})


def _changes(
    view: View, x: Axis, y: Axis, labels: Iterable[tuple[float, float, str]]
) -> Iterator[str]:
    """Yields the name of the sampler at each point that has another one than the point before it,
    above or below it; none where there is no room.
    """
    taken = [(at_x, at_x + LETTER * len(text), at_y) for at_x, at_y, text in labels]
    for line in view.lines:
        for before, mark in pairwise(line.marks):
            if mark.sampler == before.sampler:
                continue
            end = x.at(mark.x) + 8
            start, above = end - LETTER * len(mark.sampler), y.at(mark.y)
            for at in (above - 10, above + 20):
                near = any(a < end and start < b and abs(at - c) < 12 for a, b, c in taken)
                if not near and start > x.start and y.end < at < y.start:
                    taken.append((start, end, at))
                    attributes = {"class": f"model c{line.number}", "data-model": line.number}
                    yield tag("g", _text(end, at, mark.sampler, "change end"), attributes)
                    break


def _mark(mark: Mark, x: Axis, y: Axis, kind: str, shape: str) -> str:
    at_x, at_y = x.at(mark.x), y.at(mark.y)
    whisker = ""
    if mark.low == mark.low and mark.high == mark.high:
        top, bottom = y.at(mark.high), y.at(mark.low)
        whisker = f'<path class="whisker" d="M{at_x} {top}V{bottom}"/>'
    outline = f'<circle class="{kind}" cx="{at_x}" cy="{at_y}" r="4.5"/>'
    if shape:
        outline = f'<path class="{kind}" d="{shape.format(at_x, at_y)}"/>'
    target = f'<circle class="target" cx="{at_x}" cy="{at_y}" r="11"/>'
    content = whisker + outline + target + tag("title", escaped(mark.tip))
    attributes = {"class": "mark", "tabindex": 0, "role": "img", "aria-label": mark.tip}
    return tag("g", content, {**attributes, "data-row": mark.row})


def _published(view: View, x: Axis, y: Axis) -> str:
    """Returns hollow diamonds; one of unknown cost stands at the right end."""
    parts = []
    for mark in view.published:
        at_x, at_y = x.at(mark.x) if mark.x == mark.x else x.end, y.at(mark.y)
        path = f"M{at_x:g} {at_y - 6:g}l6 6l-6 6l-6 -6z"
        content = f'<path class="diamond" d="{path}"/>' + tag("title", escaped(mark.tip))
        attributes = {"class": "mark", "tabindex": 0, "role": "img", "aria-label": mark.tip}
        parts.append(tag("g", content, attributes))
    return "".join(parts)


def _labels(view: View, x: Axis, y: Axis, size: Size) -> dict[int, tuple[float, float, str]]:
    """Returns where the name of each line goes: at its end, moved until none covers another."""
    ends = []
    for line in view.lines:
        last = max((*line.marks, *line.loose), key=lambda mark: mark.x)
        short = line.model if len(line.model) <= size.letters else f"{line.model[: size.letters]}…"
        ends.append((y.at(last.y) + 4, x.at(last.x) + 9, short, line.number))
    placed = _stacked(sorted(ends))
    deepest = max((at_y for _, at_y, _ in placed.values()), default=0.0) - y.start
    if deepest <= 0:
        return placed
    mirrored = [(-at_y, at_x, text, number) for number, (at_x, at_y, text) in placed.items()]
    lifted = [(max(at_y, -y.start), at_x, text, n) for at_y, at_x, text, n in sorted(mirrored)]
    return {n: (at_x, -at_y, text) for n, (at_x, at_y, text) in _stacked(lifted).items()}


def _stacked(
    names: Sequence[tuple[float, float, str, int]],
) -> dict[int, tuple[float, float, str]]:
    """Returns names moved down, one after another, until none covers an earlier one."""
    placed: dict[int, tuple[float, float, str]] = {}
    for at_y, at_x, text, number in names:
        taken = [
            other_y
            for other_x, other_y, other in placed.values()
            if at_x < other_x + 8 * len(other) and other_x < at_x + 8 * len(text)
        ]
        lowest = max((other + LINE_HEIGHT for other in taken), default=at_y)
        placed[number] = (at_x, round(max(at_y, lowest), 1), text)
    return placed
