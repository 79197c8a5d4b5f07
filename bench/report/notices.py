"""What a reader has to know before the tables: warnings, parts of sets, missing provenance."""

from functools import lru_cache

import pandas as pd

from bench.data.gallery_files import equal_pictures
from bench.data.registry import data_card
from bench.report.best_snapshot import best_snapshots
from bench.report.control import costs_differ, evaluation_costs
from bench.report.formats import number
from bench.report.identity import used
from bench.report.results import Results

CLIPPED = 0.01
"""Share of clipped pixels above which a group is counted."""


@lru_cache(maxsize=1)
def notices(results: Results) -> list[str]:
    """Returns the lines above the tables, most important first; kept for the next output."""
    return [
        *([f"Warning: {results.uncontrolled}."] if results.uncontrolled else []),
        *_unequal_evaluations(results),
        *in_both_splits(results.dataset),
        *_few_images(results),
        *_caution(results.dataset),
        *_clipped(results.board),
        *_memorised(results),
        *_one_seed(results),
        *best_snapshots(results),
        *results.drawn,
        *_unproven(results),
    ]


def _caution(dataset: str) -> list[str]:
    """Returns what a data set cannot show, if its card says so."""
    try:
        caution = data_card(dataset).caution
    except (KeyError, ValueError):
        return []
    return [f"{caution}."] if caution else []


def _unequal_evaluations(results: Results) -> list[str]:
    """Returns a line if one network evaluation does not cost the same in every model."""
    if not costs_differ(results.rows):
        return []
    costs = evaluation_costs(results.rows)
    named = ", ".join(f"{name} {cost:.4g}" for name, cost in costs.items())
    return [f"Equal NFE is not equal compute: GFLOPs of one evaluation are {named}."]


def _clipped(board: pd.DataFrame) -> list[str]:
    """Returns a line that counts the groups of which many pixels were clipped."""
    much = board[board["clipped_fraction"] > CLIPPED]
    if much.empty:
        return []
    most = much.loc[much["clipped_fraction"].idxmax()]
    return [
        f"Clipped pixels above {CLIPPED:.0%} in {len(much)} of {len(board)} rows, most in "
        f"{most['group']} ({most['clipped_fraction']:.1%})."
    ]


def _memorised(results: Results) -> list[str]:
    """Returns a line for each measure of memorisation that some group is beyond the bound of."""
    named: dict[str, list[str]] = {}
    for group in results.memorised:
        side = "above" if group.bound.above else "below"
        what = f"Memorised, {group.metric} {side} {group.bound.value:g}"
        named.setdefault(what, []).append(f"{group.group} ({number(group.value)})")
    return [f"{what}: {'; '.join(groups)}." for what, groups in named.items()]


def in_both_splits(dataset: str) -> list[str]:
    """Returns a line if held-out pictures of a data set equal ones for training."""
    try:
        count = equal_pictures(dataset)
    except (OSError, ValueError) as error:
        return [f"Whether held-out pictures equal ones for training is not known: {error}."]
    if not count:
        return []
    held_out = data_card(dataset).splits["test"]
    return [
        f"Warning: {count:,} of {held_out:,} held-out pictures equal a training picture, pixel by "
        "pixel as they are used: held-out numbers are too good by them."
    ]


def _one_seed(results: Results) -> list[str]:
    """Returns a line that counts the groups of a model that were sampled with one seed."""
    sampled = results.board[results.board["train_keys"] != ""]
    one = int((sampled["sample_seeds"] == 1).sum())
    text = f"{one} of {len(sampled)} rows say nothing of what other sample seeds would give."
    return [f"One sample seed: {text}"] if one else []


def _few_images(results: Results) -> list[str]:
    """Returns a line for each count of images that is too small for some metrics."""
    needs: dict[int, list[str]] = {}
    for name, short in used(results.rows):
        identity = results.identities[short]
        least = identity.get("least_count", 0)
        if least > identity.get("count", least):
            needs.setdefault(identity["count"], []).append(f"{name} needs {least}")
    return [
        f"Too few images: {count} are a smoke test, not evidence; {', '.join(named)}."
        for count, named in needs.items()
    ]


def _unproven(results: Results) -> list[str]:
    """Returns a line that counts the rows whose numbers are of unknown code, by what lacks it."""
    lacking = [unproven for unproven in results.rows["unproven"] if unproven]
    if not lacking:
        return []
    causes = dict.fromkeys(stage for unproven in lacking for stage in unproven)
    return [
        f"Without provenance: {len(lacking)} of {len(results.rows)} points hold results that name "
        f"no commit ({', '.join(causes)}); see column unproven of results.csv."
    ]
