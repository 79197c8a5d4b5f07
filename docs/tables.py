"""Markdown tables of parameters, methods, samplers, metrics and data sets, made from the cards."""

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from bench.card import Card, SamplerCard, cards
from bench.data.card import DataCard
from bench.data.registry import DATASETS
from bench.describe import Parameter, flow_yaml, markdown, parameters
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.registry import METRICS, SHORTHANDS, choose
from bench.schema import build

HEADER = ("key", "values", "default", "meaning")
DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def fields_table(kind: type, defaults: Mapping[str, str] | None = None) -> str:
    """Returns the table of a dataclass's parameters.

    Args:
        defaults: Defaults that depend on more than the dataclass, in words, by key.
    """
    return table(
        HEADER,
        [
            (
                f"`{one.name}`",
                one.allowed,
                (defaults or {}).get(one.name) or _default(one),
                markdown(one.meaning) or (intro(one.inner) if one.inner else ""),
            )
            for one in own(kind)
        ],
    )


def own(kind: type) -> list[Parameter]:
    """Returns the parameters of a dataclass without those that are nested in them."""
    return [one for one in parameters(kind) if len(one.path) == 1]


def _default(one: Parameter) -> str:
    if one.default is MISSING:
        return "required"
    return "below" if one.inner else f"`{flow_yaml(one.default)}`"


def intro(kind: type) -> str:
    """Returns what a dataclass's docstring says before its arguments."""
    text = inspect.cleandoc(kind.__doc__ or "").split("\nArgs:")[0]
    return markdown(" ".join(text.split()))


def nested(kind: type) -> dict[str, type]:
    """Returns the dataclasses inside a parameters dataclass, by the path of keys to them."""
    found = {}
    for one in own(kind):
        if one.inner is not None:
            found[one.name] = one.inner
            found |= {f"{one.name}.{name}": inner for name, inner in nested(one.inner).items()}
    return found


def shared_kinds() -> dict[type, str]:
    """Returns the dataclasses that parameters of several methods hold, with the key of each."""
    of = [nested(card.params) for card in cards().values()]
    keys: dict[type, str] = {}
    for path, kind in (item for one in of for item in one.items()):
        if sum(kind in one.values() for one in of) > 1:
            keys.setdefault(kind, path)
    return keys


def _titled(path: str, kind: type, level: str) -> str:
    return f"{level} `{path}`\n\n{intro(kind)}\n\n{fields_table(kind)}"


def shared_parameters() -> str:
    """Returns the tables of parameters that several methods have."""
    found = [_titled(path, kind, "###") for kind, path in shared_kinds().items()]
    return "\n\n".join(found)


def method_parameters(card: Card) -> str:
    """Returns the tables of a method's parameters, without those that others have too."""
    shared = shared_kinds()
    own = [
        _titled(path, kind, "####")
        for path, kind in nested(card.params).items()
        if kind not in shared
    ]
    return "\n\n".join([fields_table(card.params), *own])


def methods() -> str:
    """Returns a row for each method."""
    header = ("method", "version", "paper", "samplers", "bits/dim", "authors' checkpoints")
    rows = []
    for name, card in cards().items():
        likelihood = card.likelihood.kind if card.likelihood else f"none: {card.no_likelihood}"
        samplers = ", ".join(f"`{sampler}`" for sampler in card.samplers)
        paper = f"[{card.title}]({card.paper})"
        taken = "read" if card.checkpoints else "none published"
        rows.append((f"[`{name}`](#{name})", str(card.version), paper, samplers, likelihood, taken))
    return table(header, rows)


def source(card: Card) -> str:
    """Returns the paper and the departures from it, as the adapter's docstring has them."""
    module = importlib.util.find_spec(card.adapter.partition(":")[0])
    text = ast.get_docstring(ast.parse(Path(module.origin).read_text(encoding="utf-8"))) or ""
    _, _, rest = text.partition("\nSource: ")
    paper, _, departures = rest.partition("\nDepartures: ")
    paper, departures = (" ".join(part.split()).rstrip(".") for part in (paper, departures))
    items = "\n".join(f"- {markdown(item)}" for item in departures.split("; "))
    return f"Source: {markdown(paper)}.\n\nDepartures from it:\n\n{items}"


def _published(card: Card, preset: str) -> str:
    """Returns the sampler that a preset brings, with what it sets."""
    published = card.published.get(preset)
    if published is None:
        return "none"
    times = f"{published.times} times" if published.times else ""
    values = [f"{name} {value}" for name, value in published.params.items()]
    return ", ".join(filter(None, (f"`{published.sampler}`", times, *values)))


def presets(card: Card) -> str:
    """Returns the presets of a method with the images that they are for, and their samplers."""
    if not card.presets:
        return "None."
    shapes = {name: "x".join(map(str, card.shapes.get(name, ()))) for name in card.presets}
    return table(
        ("preset", "images (channels x height x width)", "`sampler: published`"),
        [
            (f"`{name}`", shape or "any that fit", _published(card, name))
            for name, shape in shapes.items()
        ],
    )


def samplers(card: Card) -> str:
    """Returns a row for each sampler of a method, with its evaluations per step."""
    header = ("sampler", "version", "method", "NFE of n steps", "time grids", "conditions")
    rows = [
        (
            f"`{name}`",
            str(sampler.version),
            markdown(sampler.summary),
            evaluations(sampler),
            ", ".join(sampler.times) or "none of its own",
            ", ".join(sampler.conditions) or "none",
        )
        for name, sampler in card.samplers.items()
    ]
    return f"{table(header, rows)}\n\nTheir parameters:\n\n{_sampler_parameters(card)}"


def evaluations(sampler: SamplerCard) -> str:
    """Returns what n steps of a sampler cost with its other parameters at their defaults."""
    usual, count = sampler.params(), sampler.effort.evaluations
    if not sampler.effort.exact:
        about = f", about {count(usual):.0f} at {usual.tolerance:g}" if count else ""
        return f"as many as the tolerance takes{about}"
    if "steps" not in [item.name for item in fields(usual)]:
        return f"{count(usual)} at the defaults"
    first, second = (count(build(sampler.params, {"steps": n})) for n in (100, 101))
    slope, rest = second - first, first - 100 * (second - first)
    sign = f" {'+' if rest > 0 else '-'} {abs(rest)}" if rest else ""
    return f"{'' if slope == 1 else slope}n{sign}"


def _sampler_parameters(card: Card) -> str:
    """Returns a row for each parameter; samplers that have the same one share it."""
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, sampler in card.samplers.items():
        for one in own(sampler.params):
            groups.setdefault((one.name, one.allowed, markdown(one.meaning)), {})[name] = _default(
                one
            )
    rows = []
    for (name, values, meaning), defaults in groups.items():
        every = len(defaults) == len(card.samplers)
        of = "all" if every else ", ".join(f"`{sampler}`" for sampler in defaults)
        rows.append((f"`{name}`", of, values, _several(defaults), meaning))
    return table(("parameter", "samplers", "values", "default", "meaning"), rows)


def _several(defaults: Mapping[str, str]) -> str:
    """Returns the default that most samplers have, and which have another one."""
    values = list(defaults.values())
    usual = max(dict.fromkeys(values), key=values.count)
    others = [f"`{name}`: {value}" for name, value in defaults.items() if value != usual]
    return "; ".join([usual, *others])


def likelihood_parameters() -> str:
    """Returns a row for each parameter of a likelihood; methods that have the same one share it."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, card in cards().items():
        for one in own(card.likelihood.params) if card.likelihood else ():
            row = one.name, one.allowed, _default(one), markdown(one.meaning)
            groups.setdefault(row, []).append(f"`{name}`")
    rows = [
        (f"`{name}`", ", ".join(of), values, default, meaning)
        for (name, values, default, meaning), of in groups.items()
    ]
    return table(("parameter", "methods", "values", "default", "meaning"), rows)


def metrics() -> str:
    """Returns a row for each metric."""
    header = ("metric", "version", "what", "better", "range", "column", "for")
    rows = []
    for name, card in METRICS.items():
        low, high = (f"{bound:g}" for bound in card.bounds)
        bounds = "any" if low == "-inf" and high == "inf" else f"{low} to {high}"
        better = "higher" if card.higher_is_better else "lower"
        column = f"`{card.column(card.params())}`"
        tasks = ", ".join(card.tasks) or "any samples"
        bounds = bounds.replace("inf", "∞")
        link, version = f"[`{name}`](#{name})", str(card.version)
        rows.append((link, version, card.summary, better, bounds, column, tasks))
    return table(header, rows)


def metric_parameters() -> str:
    """Returns a row for each parameter of a metric; metrics that have the same one share it."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, card in METRICS.items():
        for one in own(card.params):
            row = one.name, one.allowed, _default(one), markdown(one.meaning)
            groups.setdefault(row, []).append(name)
    rows = [
        (f"`{name}`", ", ".join(f"`{metric}`" for metric in of), values, default, meaning)
        for (name, values, default, meaning), of in groups.items()
    ]
    return table(("parameter", "metrics", "values", "default", "meaning"), rows)


def shorthands() -> str:
    """Returns what each short name of a suite stands for."""
    rows = []
    for name, meant in SHORTHANDS.items():
        entries = [
            "{" + ", ".join([f"metric: {one}", *(f"{k}: {v}" for k, v in options.items())]) + "}"
            for one, options in meant
        ]
        columns = [_column(one, options) for one, options in meant]
        rows.append((f"`{name}`", ", ".join(f"`{e}`" for e in entries), ", ".join(columns)))
    return table(("short name", "stands for", "column"), rows)


def _column(name: str, options: Mapping[str, Any]) -> str:
    """Returns the column of a metric of CIFAR-10."""
    card = METRICS[name]
    return card.column(build(card.params, choose(card, options, DATASETS["cifar10"])))


def extractors() -> str:
    """Returns a row for each feature extractor."""
    header = ("extractor", "network", "features", "classes", "weights")
    rows = []
    for name, card in EXTRACTORS.items():
        size = "@SIZE" if card.sized else ""
        usual = "SIZE" if card.projection else "as many as pixel values"
        length, classes = str(card.dimension or usual), str(card.classes or "")
        how = DIGEST.sub(r"\1…", card.how) or "ship with the project"
        rows.append((f"`{name}{size}`", card.summary, length, classes, how if card.weights else ""))
    return table(header, rows)


def data_sets() -> str:
    """Returns a row for each data set of a fixed name."""
    header = ("data set", "version", "what", "shape", "values", "splits", "split rule", "files")
    return table(header, [_data_set(name, card) for name, card in DATASETS.items()])


def _data_set(name: str, card: DataCard) -> tuple[str, ...]:
    values = f"{card.levels} levels" if card.range is None else "real"
    splits = ", ".join(f"{count:,} {split}" for split, count in card.splits.items())
    files = "under `BENCH_DATA`" if card.files else "ship with a package"
    shape, version = "x".join(map(str, card.shape)), str(card.version)
    return f"`{name}`", version, card.summary, shape, values, splits, card.split_rule, files


OF_EVERYTHING: Mapping[str, Callable[[], str]] = {
    "methods": methods,
    "shared parameters": shared_parameters,
    "likelihood parameters": likelihood_parameters,
    "metrics": metrics,
    "metric parameters": metric_parameters,
    "short names": shorthands,
    "extractors": extractors,
    "data sets": data_sets,
}
OF_A_METHOD: Mapping[str, Callable[[Card], str]] = {
    "source": source,
    "presets": presets,
    "samplers": samplers,
    "parameters": method_parameters,
}
