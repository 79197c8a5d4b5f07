"""The leaderboard as a person reads it: Markdown and one HTML page, made of the same sections.

A section is a title, some text and a table of cells; the two writers only differ in how they mark
them up.
"""

import html as markup
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from bench import printable
from bench.data.gallery_files import equal_pictures
from bench.data.registry import data_card
from bench.report.comparison import apart
from bench.report.front import COSTS, dominated
from bench.report.leaderboard import best_of
from bench.report.seeds import Measured, measured
from bench.report.statistics import LEAST_VALUES, UNBOUNDED
from bench.report.table import (
    BITS,
    BITS_ERROR,
    BITS_TITLE,
    COLD,
    DRAW_ERROR,
    DRAW_SD,
    EXACT_BITS,
    HELD_OUT,
    LOSS,
    SECONDS,
    bare,
    drawn_lines,
    identities,
    uncontrolled,
)
from bench.report.verdicts import judge
from bench.suite.claims import LEAST_PAIRS, LEAST_TRAININGS

if TYPE_CHECKING:
    from bench.report.figures.summary import Picture
    from bench.suite.resolved import Suite

MILLI = 1e3
TERA = 1e12
MARKS = {"sample seeds": "†", "trainings": "‡"}
"""Marks of intervals that hold for other sample seeds, or for other trainings, alone."""
TIED = "≈"
"""Marks a value that cannot be told from the best one: the interval of the difference holds 0."""
LISTED = 4
"""Values that a cell lists; of more, the least and the greatest."""
CLIPPED = 0.01
"""Share of clipped pixels above which a row is named."""
NAMED = 8
"""Rows named for it, those with most first."""
MEMORISED: Mapping[str, tuple[float, bool]] = {
    "nn_ratio": (0.5, False),
    "near_copies": (0.01, True),
}
"""By metric: the value beyond which a row is flagged as memorised, and whether beyond is above.

``nn_ratio`` is 1 for new images and 0 for copies: at one half, samples lie twice as near to
training images as new ones do. ``near_copies`` is a share of the samples, beyond the share that
real held-out images have, where it is known.
"""


class Cell(NamedTuple):
    """One cell of a table; the best of its column is ``strong``."""

    text: str
    strong: bool = False


class Section(NamedTuple):
    """A part of the report: text, a table with lines below it, a list."""

    title: str
    text: Sequence[str] = ()
    headers: Sequence[str] = ()
    cells: Sequence[Sequence[Cell]] = ()
    bullets: Sequence[str] = ()
    below: Sequence[str] = ()


def number(value: Any, digits: int = 3) -> str:
    """Returns a number with that many significant digits and no exponent within reason; blank where
    there is none.
    """
    if value is None or pd.isna(value):
        return ""
    value = float(value)
    if math.isinf(value) or value == 0:
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{_decimals(value, digits)}f}"


def spread(mean: Any, deviation: Any) -> str:
    """Returns ``0.123 ± 0.004``, both to the mean's three significant digits; the mean alone
    without a spread.
    """
    if (
        mean is None
        or pd.isna(mean)
        or deviation is None
        or pd.isna(deviation)
        or not math.isfinite(mean)
    ):
        return number(mean)
    if not 1e-4 <= abs(mean) < 1e7:
        return f"{number(mean)} ± {number(deviation, 1)}"
    return f"{number(mean)} ± {deviation:,.{_decimals(mean, 3)}f}"


def estimate(mean: Any, error: Any) -> str:
    """Returns ``2.158 ± 0.030``, both to the error's two significant digits; the mean alone without
    an error.
    """
    if mean is None or pd.isna(mean) or error is None or pd.isna(error) or not error > 0:
        return number(mean)
    decimals = min(6, _decimals(error, 2))
    return f"{mean:,.{decimals}f} ± {error:,.{decimals}f}"


def interval(mean: Any, low: Any, high: Any) -> str:
    """Returns ``0.123 [0.119, 0.127]``, all to the mean's three significant digits; the mean alone
    without an interval.

    The interval may be much wider than the mean: a zero of its own shows as such.
    """
    if any(
        value is None or pd.isna(value) or not math.isfinite(value) for value in (mean, low, high)
    ):
        return number(mean)
    if not 1e-4 <= abs(mean) < 1e7:
        return f"{number(mean)} [{number(low)}, {number(high)}]"
    decimals = _decimals(mean, 3)
    return f"{number(mean)} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def told(found: Measured) -> str:
    """Returns a mean with its interval, marked where that holds for one thing alone, or with the
    values.
    """
    text = interval(found.mean, found.low, found.high)
    if found.scope:
        return f"{text} {MARKS[found.scope]}" if found.scope in MARKS else text
    if not found.values or not math.isfinite(found.mean):
        return text
    if len(found.values) > LISTED:
        return f"{text} ({number(min(found.values))} to {number(max(found.values))})"
    return f"{text} ({', '.join(map(number, found.values))})"


def quality(group: Mapping[str, Any], name: str) -> str:
    """Returns a metric of a group of the leaderboard as :func:`told` does."""
    if pd.isna(group[name]):
        return ""
    over, values = (group[f"{name} {what}"] for what in ("interval over", "values"))
    return told(Measured(group[name], group[f"{name} low"], group[f"{name} high"], over, values))


def bits(mean: Any, error: Any, draws: tuple[Any, Any] | None = None) -> str:
    """Returns bits/dim with their standard error over the images, which says so.

    Args:
        draws: What random draws (dequantisations, probes) make of the mean and of one image, to be
            told beside it.
    """
    text = estimate(mean, error)
    if "±" not in text:
        return text
    if draws is None or pd.isna(draws[1]):
        return f"{text} (over images)"
    return f"{text} (over images; of it draws ± {number(draws[0], 2)}, of one image ± {number(draws[1], 2)})"


def marked(text: str, note: Any) -> str:
    """Returns bits/dim as they are written, with a mark where their note says that they are no
    exact value.
    """
    return f"{text} (bound)" if text and "bound" in str(note).split(" + ") else text


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def compact(value: Any) -> str:
    """Returns a number of evaluations: ``19``, ``38.5``; blank where there is none."""
    return "" if value is None or pd.isna(value) else f"{value:.4g}"


def whole(value: Any) -> str:
    """Returns a whole number with its thousands separated; blank where there is none."""
    return "" if value is None or pd.isna(value) else f"{int(value):,}"


def arrow(higher: bool) -> str:
    """Returns the direction in which a metric is better."""
    return "↑" if higher else "↓"


def sampler_title(group: Mapping[str, Any]) -> str:
    """Returns a sampler with its time grid and settings: ``flow_heun (rho7, snr=0.16)``."""
    if not isinstance(group["sampler"], str):
        return "–"
    tolerance = "" if pd.isna(group["tolerance"]) else f"tolerance={group['tolerance']:g}"
    notes = [note for note in (group["times"], group["settings"], tolerance) if note]
    return f"{group['sampler']} ({', '.join(notes)})" if notes else group["sampler"]


def reach(group: Mapping[str, Any]) -> str:
    """Returns measured NFE, with the range where it has one."""
    if pd.isna(group["nfe"]) or group["nfe_min"] == group["nfe_max"]:
        return compact(group["nfe"])
    return f"{compact(group['nfe'])} ({compact(group['nfe_min'])}–{compact(group['nfe_max'])})"


def sections(suite: "Suite", rows: pd.DataFrame, board: pd.DataFrame) -> list[Section]:
    """Returns the parts of the report in order: a table a budget, the models, what is missing, how
    to read it.
    """
    metrics, known, floors = rows.attrs["metrics"], rows.attrs["identities"], rows.attrs["floors"]
    unlike, inspections, unranked = uncontrolled(rows), rows.attrs["inspections"], apart(rows)
    judged, beaten = judge(rows), dominated(board)
    rows, board = bare(rows), bare(board)
    done = int((rows["state"] == "done").sum())
    summary = (
        f"{len(board)} groups of {len(rows)} points ({done} done) on {suite.dataset}; "
        "a row a group: mean over trainings and sample seeds [95 % interval], or (the values) of too few for one."
    )
    warnings = [f"Warning: {unlike}."] if unlike else []
    warnings += [*_one_seed(board), *_in_both_splits(suite.dataset)]
    text = [summary, *warnings, *_warnings(rows, known), *drawn_lines(rows), *_unproven(rows)]
    parts = [Section("", text), _claims(judged)]
    for budget, groups in board.groupby("budget", sort=True):
        title = f"Budget {compact(budget)} (network evaluations an image)"
        parts.append(_ranking(title, groups, metrics, floors, known))
    rest = board[board["budget"].isna()]
    if len(rest):
        title = "Without a fixed budget: adaptive samplers where they measured, images made elsewhere (not ranked)"
        parts.append(_ranking(title, rest, metrics, floors, known))
    parts.append(_front(beaten, metrics))
    parts.append(_models(rows))
    parts += _heldout(inspections)
    parts.append(Section("Not ranked together", bullets=unranked))
    parts.append(_missing(board, inspections))
    parts.append(_reading(rows, metrics, known, stated=len(judged) > 0))
    return [
        part for part in parts if part.cells or part.bullets or (part.text and not part.headers)
    ]


def _warnings(rows: pd.DataFrame, known: Mapping[str, Any]) -> list[str]:
    """Returns a line for each metric that was measured on fewer images than its value means
    anything for.
    """
    used = dict.fromkeys(
        (name, short) for text in rows["identity"] for name, short in identities(text).items()
    )
    return [
        f"Too few images: {name} on {known[short]['count']} is a smoke test, not evidence; it needs {least}."
        for name, short in used
        if (least := known[short].get("least_count", 0)) > known[short].get("count", least)
    ]


def _in_both_splits(dataset: str) -> list[str]:
    """Returns a line where held-out pictures of a data set that the suite describes equal ones for
    training.
    """
    try:
        count = equal_pictures(dataset)
    except (OSError, ValueError) as error:
        return [f"Whether held-out pictures equal ones for training is not known: {error}."]
    if not count:
        return []
    held_out = data_card(dataset).splits["test"]
    return [
        f"Warning: {count:,} of {held_out:,} held-out pictures equal a training picture, pixel by pixel as they are "
        "used: held-out numbers are too good by them."
    ]


def _one_seed(board: pd.DataFrame) -> list[str]:
    """Returns a line that counts the groups of a model that were sampled with one seed."""
    sampled = board[board["train_keys"] != ""]
    one = int((sampled["sample_seeds"] == 1).sum())
    if not one:
        return []
    return [
        f"One sample seed: {one} of {len(sampled)} groups say nothing of what other sample seeds would give."
    ]


def _unproven(rows: pd.DataFrame) -> list[str]:
    """Returns a line that counts the rows whose numbers are of unknown code, by what lacks it."""
    lacking = rows.loc[rows["unproven"] != "", "unproven"]
    if lacking.empty:
        return []
    kinds = dict.fromkeys(item for text in lacking for item in text.split(", "))
    causes = dict.fromkeys(item.partition(" of ")[2] or item for item in kinds)
    return [
        f"Without provenance: {len(lacking)} of {len(rows)} rows hold results that name no commit "
        f"({', '.join(causes)}); see column unproven of results.csv."
    ]


def _floors(groups: pd.DataFrame, floors: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Returns a line for each metric and identity of a table whose value for real images is
    known.
    """
    used = dict.fromkeys(pair for text in groups["identity"] for pair in identities(text).items())
    lines = []
    for name, short in used:
        if (floor := floors.get(name, {}).get(short)) is None:
            continue
        text = f"{name}: real images against themselves at n = {known[short].get('count')}: "
        text += estimate(floor["mean"], floor["std"])
        if floor["std"] is not None and math.isfinite(floor["std"]):
            text += " (standard deviation over sets)"
        lines.append(f"{text}.")
        if (whole_set := floor.get("training_set")) is not None:
            count, value = whole_set["images"], number(whole_set["value"])
            lines.append(f"{name}: the training set itself, {count:,} images: {value}.")
    return lines


def _ranking(
    title: str,
    groups: pd.DataFrame,
    metrics: Mapping[str, bool],
    floors: Mapping[str, Any],
    known: Mapping[str, Any],
) -> Section:
    headers = ["rank", "model", "sampler", "steps", "NFE"]
    headers += [f"{name} {arrow(higher)}" for name, higher in metrics.items()]
    headers += [
        "time (ms/image)",
        "compute (GFLOPs/image)",
        f"{BITS_TITLE} ↓",
        "seeds (training × sampling)",
        "state",
    ]
    best = {
        name: {i for part in best_of(groups, name, higher) for i in part}
        for name, higher in metrics.items()
    }
    cells = []
    for index, group in groups.iterrows():
        values = [
            Cell(f"{TIED} {text}" if group[f"{name} tied"] is True else text, index in best[name])
            for name, text in ((name, quality(group, name)) for name in metrics)
        ]
        facts = [
            whole(group["rank"]),
            model_title(group),
            sampler_title(group),
            whole(group["steps"]),
            reach(group),
        ]
        costs = [
            spread(group[SECONDS] * MILLI, group[f"{SECONDS} sd"] * MILLI),
            number(group["sampling_gflops_per_image"]),
            marked(bits(group[BITS], group[BITS_ERROR]), group[f"{BITS}_note"]),
            f"{group['train_seeds']} × {group['sample_seeds']}"
            if isinstance(group["sampler"], str)
            else "",
            group["state"],
        ]
        cells.append([*map(Cell, facts), *values, *map(Cell, costs)])
    below = [*_floors(groups, floors, known), *_ties(groups, metrics, best)]
    return Section(
        title,
        (),
        headers,
        cells,
        below=[*below, *_memorised(groups, metrics, floors), *_clipped(groups)],
    )


def _ties(
    groups: pd.DataFrame, metrics: Mapping[str, bool], best: Mapping[str, set[Any]]
) -> list[str]:
    """Returns what the tie marks of a table mean, and where there can be none."""
    lines, unknown = [], []
    if any(groups[f"{name} tied"].fillna(False).any() for name in metrics):
        lines.append(
            f"{TIED}: not told from the best of the column: the 95 % interval of the difference holds 0."
        )
    for name in metrics:
        others = groups[
            (groups["state"] == "done") & groups[name].notna() & ~groups.index.isin(best[name])
        ]
        if best[name] and len(others) and others[f"{name} tied"].isna().all():
            unknown.append(name)
    if unknown:
        lines.append(
            f"No differences from the best are judged in {', '.join(unknown)}: they have no interval (fewer than "
            f"{LEAST_VALUES} trainings or sample seeds in common)."
        )
    return lines


def _memorised(
    groups: pd.DataFrame, metrics: Mapping[str, bool], floors: Mapping[str, Any]
) -> list[str]:
    """Returns a line for each measure of memorisation that some group is beyond the bound of."""
    found: dict[str, list[str]] = {}
    for name in metrics:
        bound, above = MEMORISED.get(name.partition("(")[0], (None, False))
        for _, group in groups.iterrows() if bound is not None else ():
            short = identities(group["identity"]).get(name, "")
            real = floors.get(name, {}).get(short, {}).get("mean", 0.0) if above else 0.0
            if (group[name] > bound + real) if above else (group[name] < bound):
                what = f"Memorised, {name} {'above' if above else 'below'} {bound + real:g}"
                found.setdefault(what, []).append(f"{group['group']} ({number(group[name])})")
    return [f"{what}: {'; '.join(named)}." for what, named in found.items()]


def _clipped(groups: pd.DataFrame) -> list[str]:
    """Returns a line that names the groups of which many pixels were clipped."""
    much = groups[groups["clipped_fraction"] > CLIPPED]
    much = much.sort_values("clipped_fraction", ascending=False, kind="stable")
    found = "; ".join(
        f"{group['group']} ({group['clipped_fraction']:.1%})"
        for _, group in much[:NAMED].iterrows()
    )
    more = f"; and {len(much) - NAMED} more" if len(much) > NAMED else ""
    return [f"Clipped pixels above {CLIPPED:.0%}: {found}{more}."] if found else []


def _claims(judged: pd.DataFrame) -> Section:
    """Returns the claims of the suite with their verdicts."""
    if judged.empty:
        return Section("Claims")
    text = (
        "Stated in the suite: each verdict is on the first group. The unit is a training: groups that share their "
        f"trainings are compared in pairs, of which a claim needs {LEAST_PAIRS}; others need {LEAST_TRAININGS} "
        f"trainings each. p: two-sided, after Holm's correction over {len(judged)} claims. Within noise: two "
        "one-sided t tests say that the difference is smaller than the smallest effect of interest; where no test "
        "says anything, the word is undecided. Better and worse ask that the interval does not hold 0, and more."
    )
    headers = [
        "first",
        "second",
        "metric",
        "NFE",
        "verdict",
        "first's mean",
        "second's mean",
        "difference [95 %]",
    ]
    headers += ["smallest effect", "p", "p of equivalence", "test", "note"]
    cells = []
    for _, claim in judged.iterrows():
        costs = dict.fromkeys(compact(claim[f"{side}_nfe"]) for side in ("first", "second"))
        facts = [claim["first"], claim["second"], claim["metric"], " / ".join(costs)]
        values = [number(claim["first_mean"]), number(claim["second_mean"])]
        values += [
            interval(claim["difference"], claim["low"], claim["high"]),
            number(claim["smallest_effect"]),
        ]
        values += [_probability(claim["p_holm"]), _probability(claim["p_equivalence_holm"])]
        verdict = Cell(claim["verdict"], claim["verdict"] != "undecided")
        cells.append(
            [*map(Cell, facts), verdict, *map(Cell, (*values, claim["test"], claim["note"]))]
        )
    return Section("Claims", [text], headers, cells)


def _probability(p: Any) -> str:
    return "" if pd.isna(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _front(beaten: pd.DataFrame, metrics: Mapping[str, bool]) -> Section:
    """Returns the groups that are off the Pareto front, and what beats them."""
    text = (
        f"Complete groups that another one beats by the mean of {next(iter(metrics), '')} for no more cost; blank: on "
        "the front of that cost. Whether a difference is more than noise is a claim's question."
    )
    cells = [[Cell(value) for value in row] for row in beaten.itertuples(index=False)]
    return Section(
        "Dominated", [text], ["group", *(f"beaten in {cost} by" for cost in COSTS.values())], cells
    )


def model_title(row: Mapping[str, Any]) -> str:
    """Returns a train entry's label, with the snapshot and the average of it where it is of one."""
    name = (
        row["train"]
        if pd.isna(row["snapshot"])
        else f"{row['train']} after {row['snapshot']:,} images"
    )
    return name if pd.isna(row["ema"]) else f"{name}, EMA {row['ema']}"


def _models(rows: pd.DataFrame) -> Section:
    """A row a train entry, a snapshot or an average of it: what it is, what it cost, how likely it
    finds images.
    """
    models = rows[rows["train_key"].notna()].drop_duplicates("train_key")
    headers = ["model", "method", "variant", "weights", "parameters"]
    headers += ["trainings", "images each", "compute (TFLOPs each)"]
    true = models[EXACT_BITS].notna().any()
    headers += [
        "time (s each)",
        f"{BITS_TITLE} ↓",
        *(["the same by the true density"] if true else []),
    ]
    headers += ["likelihood NFE", "likelihood GFLOPs", "device", "train keys"]
    cells = []
    for _, part in models.groupby(["train", "snapshot", "ema"], sort=False, dropna=False):
        first = part.iloc[0]
        facts = [model_title(first), first["method"], first["variant"], first["weights"]]
        facts += [whole(first["parameters"]), str(len(part))]
        facts += [
            whole(
                part["training_images"].mean().round()
                if part["training_images"].notna().any()
                else None
            )
        ]
        facts += [
            number(part["training_flops"].mean() / TERA),
            number(part["training_seconds"].mean()),
        ]
        bits_shown = marked(_bits_of(part), first[f"{BITS}_note"])
        facts += [bits_shown, *([f"{part[EXACT_BITS].mean():.3f}"] if true else [])]
        facts += [
            number(part["likelihood_nfe"].mean()),
            number(part["likelihood_gflops_per_image"].mean()),
        ]
        facts += [first["device"] if isinstance(first["device"], str) else ""]
        facts += [" ".join(f"`{name[:8]}`" for name in part["train_key"])]
        cells.append([Cell(text) for text in facts])
    return Section("Models", (), headers, cells)


def _bits_of(models: pd.DataFrame) -> str:
    """Returns bits/dim of the trainings of a model, with both of its errors, or why there is
    none.
    """
    known = models[models[BITS].notna()]
    if known.empty:
        return f"– ({models[f'{BITS}_note'].iloc[0]})"
    if len({identities(text).get(BITS) for text in known["identity"]}) > 1:
        return "– (several identities, see results.csv)"
    text = bits(
        known[BITS].mean(),
        known[BITS_ERROR].mean(),
        (known[DRAW_ERROR].mean(), known[DRAW_SD].mean()),
    )
    if len(known) == 1:
        return text
    return f"{text}; over trainings {told(measured(known[[BITS]].to_numpy(float), UNBOUNDED))}"


def _heldout(inspections: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Returns the held-out losses of the models, a row a model; models at unlike times are in
    tables of their own.
    """
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for shown in inspections:
        if shown["losses"]:
            alike.setdefault(tuple(shown["losses"]), []).append(shown)
    sections = []
    for columns, part in alike.items():
        cells = []
        for _, models in pd.DataFrame(part).groupby(
            ["train", "snapshot", "ema"], sort=False, dropna=False
        ):
            first, losses = models.iloc[0], pd.DataFrame(list(models["losses"]))
            facts = [model_title(first), first["method"], first["weighting"], str(len(models))]
            facts += [told(measured(losses[[name]].to_numpy(float), LOSS)) for name in columns]
            cells.append([Cell(text) for text in facts])
        images = part[0]["drawn"] or f"all {part[0]['images']:,}"
        text = (
            f"Mean over held-out images (split {part[0]['split']}: {images}), with equal noise at every time t (0 is "
            "data, 1 is noise); [95 % interval] for other trainings on these images and this noise, or (the values) of "
            "too few. Losses of unlike weighting are not comparable."
        )
        headers = ["model", "method", "weighting", "trainings"]
        headers += [name.removeprefix(f"{HELD_OUT}@") for name in columns]
        sections.append(Section("Held-out denoising loss", [text], headers, cells))
    return sections


def _missing(board: pd.DataFrame, inspections: Sequence[Mapping[str, Any]]) -> Section:
    lacking = board[board["state"] != "done"]
    bullets = [
        f"{group['group']}: {group['state']}; {group['cause']}"
        + (f"; log: {group['log']}" if group["log"] else "")
        for _, group in lacking.iterrows()
    ]
    bullets += [
        f"held-out loss of {model_title(shown)}, seed {shown['seed']}: {shown['cause']}"
        for shown in inspections
        if shown["cause"]
    ]
    return Section("What is missing", bullets=bullets)


def _reading(
    rows: pd.DataFrame, metrics: Mapping[str, bool], known: Mapping[str, Any], *, stated: bool
) -> Section:
    first = next(iter(metrics), None)
    bullets = []
    if first is not None:
        bullets.append(
            f"Ranked by {first} ({arrow(metrics[first])}) among groups of one budget and one identity of the metric "
            "whose points are all done; the best of each column in bold."
        )
    bullets += [
        "NFE: network evaluations an image, counted at the network call. A budget is what the suite asked for; a "
        "sampler spends the most whole steps that fit.",
        "[ ]: 95 % interval of the mean, for other trainings and other sample seeds; the unit is a training. "
        f"{MARKS['sample seeds']}: of one training, for other sample seeds of it alone. {MARKS['trainings']}: of one "
        "sample seed, for other trainings alone: it says nothing of other sample seeds. ( ): the values of fewer than "
        f"{LEAST_VALUES} trainings and sample seeds, which have no interval. A metric with bounds has its interval in "
        "logarithms (one bound) or logits (two); a mean on a bound has none.",
        f"One rule: the figures show these intervals, {TIED} and verdicts rest on those of differences. How often they "
        "hold, and what skewed noise costs them: docs/calibration. What of the spread comes from retraining and what "
        "from resampling: uncertainty.csv.",
        "Claims were stated in the suite; any other difference between rows is a hint."
        if stated
        else "The suite states no claims: every difference between rows is a hint.",
        "Time: warm batches alone, on the device named; it depends on the machine; ±: sample standard deviation over "
        "the points. Compute: operations of one call of the network times the calls.",
        f"{BITS_TITLE}: processes have different floors, in the identities; a bound is not an exact value. Real values "
        "are not dequantised: of them it is that of their density in [0, 1], which may be below 0. ± (over "
        "images): standard error of the mean over the images scored, which every training shares: what other images "
        "might give. Over trainings: the interval for other trainings on the same images, or the values.",
    ]
    if cold := int((rows[f"{SECONDS}_note"] == COLD).sum()):
        bullets.append(
            f"Time is blank for {cold} of {len(rows)} rows: none of their batches was warm."
        )
    bullets += _identity_lines(rows, known)
    versions = ", ".join(
        dict.fromkeys(item for text in rows["versions"] for item in text.split(", "))
    )
    commits = " + ".join(
        dict.fromkeys(c for text in rows["commit"].dropna() for c in text.split(" + "))
    )
    dirty = " (with uncommitted changes)" if rows["dirty"].fillna(False).any() else ""
    bullets += [f"Versions: {versions}."] if len(rows) and versions else []
    bullets += [f"Commit: {commits}{dirty}."] if commits else []
    return Section(
        "How to read this",
        bullets=[
            *bullets,
            "Every row with its keys and seeds, and where in the store "
            "the record of each number lies: results.csv, columns key, train_key and records.",
        ],
    )


def _identity_lines(rows: pd.DataFrame, known: Mapping[str, Any]) -> list[str]:
    """Returns a line for each identity in the table: what the numbers of a column depend on."""
    pairs = dict.fromkeys(pair for text in rows["identity"] for pair in identities(text).items())
    return [
        f"Identity of {name} ({short}): "
        + ", ".join(f"{field} {_plain(value)}" for field, value in known[short].items())
        for name, short in pairs
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) + ")"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:12] if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text


# Markdown


def markdown(suite: "Suite", rows: pd.DataFrame, board: pd.DataFrame) -> str:
    """Returns the leaderboard as Markdown whose tables are aligned as plain text too."""
    lines = [f"# {suite.name}", ""]
    for part in sections(suite, rows, board):
        lines += [f"## {printable.markdown(part.title)}", ""] if part.title else []
        for text in part.text:
            lines += [printable.markdown(text), ""]
        if part.cells:
            lines += [*_aligned(part.headers, part.cells), ""]
        for text in part.below:
            lines += [printable.markdown(text), ""]
        if part.bullets:
            lines += [*(f"- {printable.markdown(text)}" for text in part.bullets), ""]
    return "\n".join(lines)


def _aligned(headers: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    texts = [
        [_bold(cell) if cell.strong else printable.markdown(cell.text) for cell in row]
        for row in cells
    ]
    headers = [printable.markdown(header) for header in headers]
    widths = [max(len(row[i]) for row in [headers, *texts]) for i in range(len(headers))]
    rule = ["-" * width for width in widths]
    padded = [
        [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        for row in [headers, rule, *texts]
    ]
    return ["| " + " | ".join(row) + " |" for row in padded]


def _bold(cell: Cell) -> str:
    return f"**{printable.markdown(cell.text)}**"


# HTML


def _html(text: str) -> str:
    return markup.escape(printable.printable(text))


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; font-size: 1.15rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #888; } tr:hover td { background: #f5f5f5; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
figcaption { color: #555; font-size: 13px; max-width: 60rem; }
li { overflow-wrap: anywhere; }
"""


def html(
    suite: "Suite", rows: pd.DataFrame, board: pd.DataFrame, pictures: Sequence["Picture"]
) -> str:
    """Returns the report as one page; its figures are links to the files beside it."""
    first, *parts = sections(suite, rows, board)
    tables = [part for part in parts if part.cells]
    notes = [part for part in parts if not part.cells]
    name = _html(suite.name)
    body = [f"<h1>{name}</h1>", _block(first), *map(_block, tables)]
    drawn = [picture for picture in pictures if not picture.fault]
    faulty = [
        f"{picture.title} ({picture.name}): {picture.fault}"
        for picture in pictures
        if picture.fault
    ]
    body += ["<h2>Figures</h2>"] if drawn else []
    body += [_figure(picture) for picture in drawn]
    body += [_block(Section("Figures that could not be drawn", bullets=faulty))] if faulty else []
    body += map(_block, notes)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n<body>\n'
        + ("\n".join(body) + "\n</body>\n</html>\n")
    )


def _block(part: Section) -> str:
    """Returns one section."""
    lines = [f"<h2>{_html(part.title)}</h2>"] if part.title else []
    lines += [f"<p>{_html(text)}</p>" for text in part.text]
    if part.cells:
        head = "".join(f"<th>{_html(header)}</th>" for header in part.headers)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in part.cells)
        lines.append(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
        )
    lines += [f"<p>{_html(text)}</p>" for text in part.below]
    if part.bullets:
        lines.append("<ul>" + "".join(f"<li>{_html(text)}</li>" for text in part.bullets) + "</ul>")
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = _html(cell.text).replace("`", "")
    return f"<td><strong>{text}</strong></td>" if cell.strong else f"<td>{text}</td>"


def _figure(picture: "Picture") -> str:
    title, caption = _html(picture.title), _html(picture.caption)
    image = f'<a href="figures/{picture.name}.svg"><img src="figures/{picture.name}.png" alt="{title}"></a>'
    return f'<figure id="{picture.name}">{image}<figcaption>{caption}</figcaption></figure>'
