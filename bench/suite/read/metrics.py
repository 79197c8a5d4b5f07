"""The sections ``metrics`` and ``claims``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from bench.data.card import DataCard
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS, SHORTHANDS, choose
from bench.schema import Above, build, differences
from bench.suite.fault import KeyPath
from bench.suite.read.reading import Reading
from bench.suite.sections import Claims, Metric, Samples, Sweep

CLAIM = ("metric", "smallest_effect", "pairs", "vs")


def read_metrics(r: Reading, samples: Samples | None) -> list[Metric]:
    """Returns the metrics, which may be none: samples or likelihoods only."""
    metrics: list[Metric] = []
    if r.tree.get("metrics", []) == []:
        return metrics
    for index, entry in enumerate(r.items(("metrics",), r.tree["metrics"])):
        path = ("metrics", str(index))
        for metric in _read_entry(r, path, entry, samples):
            if metric.column in [other.column for other in metrics]:
                r.refuse(path, entry, f"the column {metric.column} is there already")
            else:
                metrics.append(metric)
    _note_one_sided(r, metrics)
    return metrics


def _read_entry(r: Reading, path: KeyPath, entry: Any, samples: Samples | None) -> list[Metric]:
    """Returns the metrics of one entry: a shorthand may stand for several."""
    name, options, name_path = entry, {}, path
    if isinstance(entry, Mapping):
        name = entry.get("metric")
        options = {key: value for key, value in entry.items() if key != "metric"}
        name_path = (*path, "metric") if "metric" in entry else path
    cards = r.cards.metrics
    shorthands = {
        word: meant
        for word, meant in SHORTHANDS.items()
        if all(cards.get(metric) is METRICS[metric] for metric, _ in meant)
    }
    if not r.choice(name_path, name, (*cards, *shorthands), "metric"):
        return []
    metrics = [
        _read_metric(r, path, entry, metric, {**preset, **options}, samples)
        for metric, preset in shorthands.get(name, ((name, {}),))
    ]
    return [metric for metric in metrics if metric is not None]


def _read_metric(
    r: Reading,
    path: KeyPath,
    entry: Any,
    name: str,
    options: Mapping[str, Any],
    samples: Samples | None,
) -> Metric | None:
    card = r.cards.metrics[name]
    if r.data is not None:
        options = choose(card, options, r.data)
    params = r.typed(card.params, path, options)
    if params is None or r.data is None:
        return None
    if r.smoke and samples is not None and card.needs(params, r.data)[0] > samples.count:
        params = replace(params, allow_few=True) if hasattr(params, "allow_few") else params
    for reason in card.refuse(params, r.data):
        r.refuse(path, entry, reason)
    if (
        samples is not None
        and not card.tasks
        and not _is_enough(r, r.data, path, entry, card, params, samples.count)
    ):
        return None
    return Metric(
        name=name,
        version=card.version,
        params=differences(params),
        column=card.column(params),
        tasks=card.tasks,
    )


def _is_enough(
    r: Reading,
    data: DataCard,
    path: KeyPath,
    entry: Any,
    card: MetricCard,
    params: Any,
    count: int,
) -> bool:
    """Tells whether so many images give a metric a value; notes if it would be weak evidence."""
    needs, why = card.needs(params, data)
    least, column = card.least_count(params, data), card.column(params)
    if r.count is not None and r.count < needs:
        text = f"{column} needs {needs} images, and samples.count asks for {r.count}"
        r.refuse(path, entry, f"{text}: {why}" if why else text)
    elif count < needs:
        images = f"whose {count} images are not the {needs}"
        r.notes.append(f"{column}: left out of the trial run, {images}")
        return False
    elif count < least and not r.smoke:
        r.notes.append(f"{column}: {count} images are few, {least} are asked for evidence")
    return True


def _note_one_sided(r: Reading, metrics: Sequence[Metric]) -> None:
    """Notes distances to training images only, or to held-out images only, if the data set has
    both.
    """
    cards = {metric.column: r.cards.metrics[metric.name] for metric in metrics}
    distances = {
        m.column: build(cards[m.column].params, m.params) for m in metrics if cards[m.column].both
    }
    asked = {
        (params.extractor, params.reference)
        for params in distances.values()
        if not params.statistics
    }
    for column, params in distances.items():
        other = "train" if params.reference == "test" else "test"
        if params.statistics or r.smoke or (params.extractor, other) in asked:
            continue
        if r.data and not cards[column].refuse(replace(params, reference=other), r.data):
            images = "training" if other == "test" else "held-out"
            r.notes.append(f"{column}: to {images} images alone; ask for reference: {other} too")


def check_tasks(r: Reading, metrics: Sequence[Metric], sweeps: Sequence[Sweep]) -> None:
    """Refuses metrics of conditional samples that no point could have."""
    tasks = {sweep.task for sweep in sweeps}
    for metric in metrics:
        if metric.tasks and not tasks & set(metric.tasks):
            what = " or ".join(metric.tasks)
            why = f"measures what samples make of what is given: no point has {what}"
            r.refuse(("metrics",), metric.column, why)


def read_claims(r: Reading, metrics: Sequence[Metric]) -> list[Claims]:
    """Returns the claims; whether their groups exist is checked once the points are known."""
    claims = []
    asked = r.tree.get("claims")
    entries = () if asked is None else r.items(("claims",), asked)
    for index, entry in enumerate(entries):
        path = ("claims", str(index))
        values = r.mapping(path, entry, CLAIM, ("metric", "smallest_effect"))
        if values and ("pairs" in values) == ("vs" in values):
            r.refuse(path, None, "should have either pairs or vs")
        effect = r.typed(
            Annotated[float, Above(0)],
            (*path, "smallest_effect"),
            values.get("smallest_effect", 1.0),
        )
        pairs = vs = column = None
        if "pairs" in values:
            pairs = r.typed_items(tuple[str, str], (*path, "pairs"), values["pairs"])
        if "vs" in values:
            vs = r.typed(str, (*path, "vs"), values["vs"])
        if "metric" in values:
            column = _column_of(r, (*path, "metric"), values["metric"], metrics)
        if column is not None and effect is not None:
            pairs = tuple(pair for pair in pairs or () if pair is not None)
            claims.append(
                Claims(path=path, column=column, smallest_effect=effect, pairs=pairs, vs=vs)
            )
    return claims


def _column_of(r: Reading, path: KeyPath, name: Any, metrics: Sequence[Metric]) -> str | None:
    """Returns the column that a claim is about: a metric's name stands for its only column."""
    columns = [metric.column for metric in metrics]
    own = [metric.column for metric in metrics if metric.name == name]
    matches = [name] if name in columns else own
    if len(matches) == 1:
        return matches[0]
    if matches:
        r.refuse(path, name, "names several columns: give the one that is meant", matches)
    elif r.smoke and name in r.cards.metrics:
        r.notes.append(f"{'.'.join(path)}: {name} is left out of the trial run")
    else:
        words = (*dict.fromkeys(metric.name for metric in metrics), *columns)
        r.refuse(path, name, "is no metric of the suite", words)
    return None
