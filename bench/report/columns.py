"""Columns of the tidy table (a row per point) and of the leaderboard (a row per group).

In memory a column that holds several facts is structured; :func:`as_text` packs it for a CSV file.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

BITS = "bits_per_dim"
BITS_TITLE = "NLL of dequantised data (bits/dim)"
BITS_ERROR = f"{BITS}_image_error"
DRAW_SD, DRAW_ERROR = f"{BITS}_draw_sd", f"{BITS}_draw_error"
"""The spread that random draws (dequantisations, probes) give to one image's bits/dim, and to the
mean over the images.
"""
EXACT_BITS = f"exact_{BITS}"
"""Bits/dim of the same images under the data's own distribution, if that is known."""
BITS_NOTE = f"{BITS}_note"
HELD_OUT = "heldout_loss"
HELD_OUT_NOTE = f"{HELD_OUT}_note"
LOSS = (0.0, math.inf)
"""Bounds of a held-out loss."""
SECONDS = "sampling_seconds_per_image"
SECONDS_NOTE = f"{SECONDS}_note"
GFLOPS = "sampling_gflops_per_image"
COLD = "no batch was warm"

LEADING = (
    *("label", "group", "train", "method", "method_name", "variant", "preset", "weights"),
    *("sampler", "times", "settings", "options", "steps", "tolerance", "adaptive", "budget"),
    "nfe",
    *("nfe_min", "nfe_max", SECONDS, GFLOPS),
    *("network_gflops_per_row", "snapshot", "ema", "training_images", "training_flops"),
    *("training_seconds", "parameters", "device"),
)
"""Columns of the tidy table before those of the metrics and of held-out losses."""
TRAILING = (
    *(BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS, BITS_NOTE, SECONDS_NOTE),
    *("likelihood_nfe", "likelihood_gflops_per_image", "clipped_fraction", "train_seed"),
    *("sample_seed", "count", "batch", "drawn", "state", "cause", "log", "key", "train_key"),
    *("versions", "identity", "commit", "dirty", "host", "ended", "records", "unproven"),
)
WHOLE = (
    *("steps", "budget", "snapshot", "training_images", "parameters", "train_seed"),
    *("sample_seed", "count", "batch"),
)
TRUTHS = ("adaptive", "dirty")
NUMBERS = (
    *("tolerance", "ema", "nfe", "nfe_min", "nfe_max", SECONDS, GFLOPS, "network_gflops_per_row"),
    *("training_flops", "training_seconds", BITS, BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS),
    *("likelihood_nfe", "likelihood_gflops_per_image", "clipped_fraction"),
)

GROUP_LEADING = (
    *("rank", "group", "state", "train", "method", "method_name", "variant", "preset"),
    *("weights", "sampler", "times", "settings", "options", "steps", "tolerance", "snapshot"),
    *("ema", "adaptive", "budget", "nfe", "nfe_min", "nfe_max", "train_seeds", "sample_seeds"),
    *("points", "points_done"),
)
"""Columns of the leaderboard before those of the metrics."""
GROUP_TRAILING = (
    *(SECONDS, f"{SECONDS} sd", GFLOPS, "training_images", "training_flops", "training_seconds"),
    *("parameters", "device", BITS, f"{BITS} sd", BITS_ERROR, DRAW_ERROR, DRAW_SD, EXACT_BITS),
    *(BITS_NOTE, SECONDS_NOTE, "likelihood_nfe", "likelihood_gflops_per_image"),
    *("clipped_fraction", "count", "drawn", "versions", "identity", "commit", "dirty", "cause"),
    *("log", "keys", "train_keys"),
)


def joined(values: Iterable[Any]) -> str:
    """Returns the distinct non-empty values in the order of their first appearance."""
    return " + ".join(dict.fromkeys(str(value) for value in values if value))


def identity_text(identity: Mapping[str, str]) -> str:
    """Returns the hash of each metric's identity as one text: ``fd=0a1b2c3d; is=4e5f6a7b``."""
    return "; ".join(f"{name}={short}" for name, short in identity.items())


def versions_text(versions: Mapping[str, Any]) -> str:
    """Returns names with their versions: ``sde 1, flow_heun 1, digits 1, fd 1``."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def unproven_text(unproven: Mapping[str, int | None]) -> str:
    """Returns by stage how many records name no commit: ``1 of samples, the images``."""
    return ", ".join(
        stage if count is None else f"{count} of {stage}" for stage, count in unproven.items()
    )


PACKED: Mapping[str, Callable[[Any], str]] = {
    "identity": identity_text,
    "versions": versions_text,
    "unproven": unproven_text,
    "commit": joined,
}
"""By structured column, how its value is written as text."""


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with structured columns as text; ``settings`` is that of ``options``."""
    packed = {name: pack for name, pack in PACKED.items() if name in table}
    return table.drop(columns="options", errors="ignore").assign(
        **{name: table[name].map(pack, na_action="ignore") for name, pack in packed.items()}
    )
