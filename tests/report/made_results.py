"""Results made by hand: rows with the values that a test states, without a store."""

import numpy as np
import pandas as pd

from bench.metrics.registry import METRICS
from bench.report.columns import LEADING, NUMBERS, TRAILING, TRUTHS, WHOLE
from bench.report.results import Results

FD, IS = "fd(digits-cnn@8)", "is(digits-cnn@8)"
IDENTITY = {FD: "aaaaaaaa", IS: "bbbbbbbb"}


def group(train, sampler, budget, values, *, gflops=2.0, **more):
    """Returns the rows of a group; values of FD of shape (trainings, sample seeds)."""
    values = np.atleast_2d(np.asarray(values, float))
    nfe = more.pop("nfe", budget)
    rows = []
    for (training, seed), value in np.ndenumerate(values):
        name = f"{train} · {sampler} · nfe {nfe}"
        rows.append(
            {
                **dict.fromkeys((*LEADING, *TRAILING)),
                "label": f"{name} · seeds {training}, {seed}",
                "group": name,
                "train": train,
                "method": "Toy",
                "method_name": "toy",
                "variant": "plain",
                "preset": "",
                "weights": "trained",
                "sampler": sampler,
                "times": "uniform",
                "settings": "",
                "options": {},
                "adaptive": budget is None,
                "budget": budget,
                **dict.fromkeys(("nfe", "nfe_min", "nfe_max"), float(nfe)),
                "sampling_seconds_per_image": nfe / 1000,
                "sampling_gflops_per_image": nfe * gflops,
                "network_gflops_per_row": gflops,
                "training_flops": 1e12,
                "training_seconds": 3600.0,
                "parameters": 1000,
                "device": "cpu",
                "train_seed": training,
                "sample_seed": seed,
                "count": 500,
                "drawn": "",
                "state": "done",
                "cause": "",
                "log": "",
                "key": f"{name} {training} {seed}",
                "train_key": f"{train} {training}",
                "versions": {"toy": 1},
                "identity": dict(IDENTITY),
                "commit": ("c0ffee",),
                "dirty": False,
                "ended": "2026-12-01T10:00:00+00:00",
                "records": f"{FD}=scores/{name}.json",
                "unproven": {},
                "bits_per_dim_note": "",
                "sampling_seconds_per_image_note": "",
                FD: float(value),
                IS: 9 - float(value),
                **more,
            }
        )
    return rows


def made(*groups, metrics=(FD, IS), **more):
    """Returns the results of some groups."""
    kinds = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(TRUTHS, "boolean")
    kinds |= dict.fromkeys((*NUMBERS, FD, IS), "float64")
    rows = pd.DataFrame([row for part in groups for row in part]).astype(kinds)
    cards = {FD: METRICS["fd"], IS: METRICS["is"]}
    identities = {
        short: {"metric": name.partition("(")[0], "count": 500, "least_count": 240}
        for name, short in IDENTITY.items()
    }
    known = {
        "metrics": {name: cards[name] for name in metrics},
        "identities": identities,
        "name": "made",
        "dataset": "digits",
        "models": tuple(rows["train"].unique()),
    }
    return Results(rows=rows, **{**known, **more})
