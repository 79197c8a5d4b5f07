"""Tables of the models themselves: what they are, what they cost, bits/dim, held-out losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.columns import (
    BITS,
    BITS_ERROR,
    BITS_NOTE,
    BITS_TITLE,
    DRAW_ERROR,
    DRAW_SD,
    EXACT_BITS,
    HELD_OUT,
    LOSS,
)
from bench.report.formats import bits_text, mark_bound, measured_text, model_title, number, whole
from bench.report.identity import hashes_of
from bench.report.inspection import Inspection
from bench.report.results import Results
from bench.report.section import Cell, Section
from bench.report.seeds import measured
from bench.report.statistics import UNBOUNDED

TERA = 1e12


def models(results: Results) -> Section:
    """Returns a row per train entry, snapshot or average: what it is, what it cost, bits/dim."""
    rows = results.rows
    trained = rows[rows["train_key"].notna()].drop_duplicates("train_key")
    headers = ["model", "method", "weights", "parameters", "trainings × images"]
    headers += ["TFLOPs and s each", f"{BITS_TITLE} ↓", "likelihood NFE (GFLOPs)"]
    alike = trained.groupby(["train", "snapshot", "ema"], sort=False, dropna=False)
    cells = [[Cell(text) for text in _model(part)] for _, part in alike]
    return Section("Models", (), headers, cells)


def _model(part: pd.DataFrame) -> list[str]:
    first, images = part.iloc[0], part["training_images"]
    seen = whole(images.mean().round() if images.notna().any() else None)
    bits = mark_bound(_bits(part), first[BITS_NOTE])
    if part[EXACT_BITS].notna().any():
        bits += f" (by the true density {part[EXACT_BITS].mean():.3f})"
    cost = (part["training_flops"].mean() / TERA, part["training_seconds"].mean())
    spent = (part["likelihood_nfe"].mean(), part["likelihood_gflops_per_image"].mean())
    return [
        model_title(first["train"], first["snapshot"], first["ema"]),
        ", ".join(filter(None, (first["method"], first["variant"], first["preset"]))),
        first["weights"],
        whole(first["parameters"]),
        f"{len(part)} × {seen}" if seen else str(len(part)),
        "; ".join(filter(None, map(number, cost))),
        bits,
        number(spent[0]) + (f" ({number(spent[1])})" if number(spent[1]) else ""),
    ]


def _bits(part: pd.DataFrame) -> str:
    """Returns bits/dim over the trainings of a model with both errors, or why there is none."""
    known = part[part[BITS].notna()]
    if known.empty:
        return f"– ({part[BITS_NOTE].iloc[0]})"
    if len(hashes_of(known, BITS)) > 1:
        return "– (several identities, see results.csv)"
    draws = known[DRAW_ERROR].mean(), known[DRAW_SD].mean()
    text = bits_text(known[BITS].mean(), known[BITS_ERROR].mean(), draws)
    if len(known) == 1:
        return text
    over = measured_text(measured(known[[BITS]].to_numpy(float), UNBOUNDED))
    return f"{text}; over trainings {over}"


def heldout_losses(inspections: Sequence[Inspection]) -> list[Section]:
    """Returns a table of held-out losses, a row per model, for each set of times."""
    by_times: dict[tuple[str, ...], list[Inspection]] = {}
    for inspection in inspections:
        if inspection.losses:
            by_times.setdefault(tuple(inspection.losses), []).append(inspection)
    return [_losses(columns, part) for columns, part in by_times.items()]


def _losses(columns: Sequence[str], inspections: Sequence[Inspection]) -> Section:
    by_model: dict[Any, list[Inspection]] = {}
    for one in inspections:
        by_model.setdefault((one.train, one.snapshot, one.ema), []).append(one)
    cells = []
    for model, part in by_model.items():
        facts = [model_title(*model), part[0].method, part[0].weighting, str(len(part))]
        facts += [_over_trainings([one.losses for one in part], name) for name in columns]
        cells.append([Cell(text) for text in facts])
    first = inspections[0]
    images = first.drawn or f"all {first.images:,}"
    text = (
        f"Mean over held-out images (split {first.split}: {images}), with equal noise at every "
        "time t (0 is data, 1 is noise); [95 % interval] for other trainings on these images and "
        "this noise, or (the values) of too few. Losses of unlike weighting are not comparable."
    )
    times = [name.removeprefix(f"{HELD_OUT}@") for name in columns]
    headers = ["model", "method", "weighting", "trainings", *times]
    return Section("Held-out denoising loss", [text], headers, cells)


def _over_trainings(losses: Sequence[Mapping[str, float]], name: str) -> str:
    values = np.array([[of_training[name]] for of_training in losses], np.float64)
    return measured_text(measured(values, LOSS))
