"""The null calibration of the report's statistics, and their power: is a verdict as rare, and as
likely, as it says?

    python -m bench.report.calibration FOLDER        # calibration.csv, power.csv, power.png

Leaderboards are simulated from variance components, judged by :mod:`bench.report.statistics` as the
report judges them, and the verdicts counted. Under the null hypothesis the same model stands on a
leaderboard under two names, so every "better" or "worse" is false. Intervals should cover 93 to 98
% of the time for normal noise; what skewed noise costs them is printed beside it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn

from bench.files import write as put
from bench.report.figures.canvas import legend_beside, panel_grid, rendered, take_legend
from bench.report.figures.style import DASHES, theme
from bench.report.significance import compare, holm, verdicts
from bench.report.statistics import estimate

LEADERBOARDS = 1000
CLAIMS = 5
"""Claims of a simulated leaderboard: two models at as many budgets."""


class Components(NamedTuple):
    """Standard deviations of the effects of :mod:`bench.report.statistics` (a, b, e).

    Args:
        alike: Correlation of b between two groups: 1 if a sample seed does the same to both.
    """

    retraining: float
    shared: float
    apart: float
    alike: float = 0.0


COMPONENTS = {
    "flow": Components(0.27, 0.26, 0.13),
    "diffusion": Components(0.19, 0.15, 0.11),
    "no shared noise": Components(0.3, 0.0, 0.3),
    "mostly shared noise": Components(0.1, 1.0, 0.1),
}
"""By name. The first two were measured: fd(digits-cnn@8) of 256 samples, six trainings by six
sample seeds of the quickstart's VP model, of flow_heun and of euler_maruyama at 20 evaluations; the
others are extremes: what is often assumed, and sample seeds that decide nearly everything.
"""
NOISES = {"normal": 0.0, "skewed": 0.5, "very skewed": 1.0}
"""By name: deviation of the logarithm of the effects; skewness is 0, 1.75 and 6.18."""
VARIATION = 0.4
"""Standard deviation over mean of a value whose interval is taken in logarithms."""


class Design(NamedTuple):
    """Trainings of both sides and sample seeds; ``gaps`` are cells (training, seed) that failed.

    Args:
        paired: Whether both sides sample the same trainings.
    """

    trainings: tuple[int, int]
    seeds: int
    paired: bool = False
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def title(self) -> str:
        """Returns ``5 × 4``, with what is special of it."""
        first, second = self.trainings
        size = (
            f"{first} × {self.seeds}" if first == second else f"{first} and {second} × {self.seeds}"
        )
        return size + (" paired" if self.paired else "") + (", gaps" if self.gaps else "")


GAPS = ((0, 0), (1, 1), (1, 2), (1, 3), (2, 2))
GROUPS = (
    Design((1, 1), 4),
    Design((5, 5), 1),
    Design((3, 3), 3),
    Design((5, 5), 2),
    Design((10, 10), 2),
    Design((20, 20), 2),
    Design((50, 50), 2),
    Design((6, 6), 3),
    Design((5, 5), 4),
    Design((5, 5), 4, gaps=GAPS),
    Design((10, 10), 4),
)
"""Designs whose intervals are calibrated."""
PAIRS = (
    Design((5, 5), 2),
    Design((6, 6), 2, paired=True),
    Design((5, 5), 4),
    Design((6, 6), 4, paired=True),
    Design((5, 7), 4),
    Design((7, 7), 4),
    Design((8, 8), 4, paired=True),
    Design((7, 7), 8),
)
"""Designs whose verdicts are calibrated."""


def effects(rng: np.random.Generator, shape: Sequence[int], skew: float) -> np.ndarray:
    """Returns effects of mean 0 and variance 1, normal or lognormal (:data:`NOISES`)."""
    normal = rng.normal(size=shape)
    if skew == 0:
        return normal
    square = np.exp(skew**2)
    return (np.exp(skew * normal) - np.sqrt(square)) / np.sqrt(square * (square - 1))


def simulate(
    design: Design,
    components: Components,
    rng: np.random.Generator,
    *,
    boards: int,
    claims: int = 1,
    skew: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of two equally good groups for each claim, shapes (boards, claims, I, J)
    and (..., K, J).

    Half of the variance of retraining is that of a model, the other half differs from claim to
    claim.
    """
    lead = (boards, claims)
    common = effects(rng, (*lead, 1, design.seeds), skew)

    def trained(trainings: int) -> np.ndarray:
        if claims == 1:
            return components.retraining * effects(rng, (*lead, trainings, 1), skew)
        model = effects(rng, (boards, 1, trainings, 1), skew) + effects(
            rng, (*lead, trainings, 1), skew
        )
        return components.retraining * model / np.sqrt(2)

    def sampled(model: np.ndarray) -> np.ndarray:
        own = effects(rng, (*lead, 1, design.seeds), skew) if components.alike < 1 else 0.0
        shared = np.sqrt(components.alike) * common + np.sqrt(1 - components.alike) * own
        apart = effects(rng, (*model.shape[:-1], design.seeds), skew)
        return model + components.shared * shared + components.apart * apart

    models = [trained(trainings) for trainings in design.trainings]
    first, second = sampled(models[0]), sampled(models[0] if design.paired else models[1])
    for training, seed in design.gaps:
        first[..., training, seed] = np.nan
    return first, second


class Coverage(NamedTuple):
    """How often an interval holds what it is for.

    Args:
        scope: What it is for: see :data:`bench.report.statistics.Scope`.
        plain: Of a metric without bounds.
        logarithms: Of one that is positive, with :data:`VARIATION`.
    """

    scope: str
    plain: float
    logarithms: float


def coverage(
    design: Design,
    components: Components,
    rng: np.random.Generator,
    boards: int = LEADERBOARDS,
    skew: float = 0.0,
) -> Coverage:
    """Returns how often the interval of a group holds the mean of the model.

    With one training or one sample seed it is for the mean of that one, whose own effect is no
    noise then.
    """
    if design.trainings[0] == 1:
        components = components._replace(retraining=0.0)
    if design.seeds == 1:
        components = components._replace(shared=0.0)
    group = design._replace(trainings=(design.trainings[0], 1))  # the second group is not looked at
    values, _ = simulate(group, components._replace(alike=1.0), rng, boards=boards, skew=skew)
    deviation = np.sqrt(sum(np.square(components[:3])))
    mean = deviation / VARIATION
    plain, positive = estimate(values), estimate(values + mean, (0.0, np.inf))
    shares = [
        float(np.mean((f.low <= at) & (at <= f.high))) for f, at in ((plain, 0.0), (positive, mean))
    ]
    return Coverage(plain.scope, *shares)


def judged(
    first: np.ndarray, second: np.ndarray, design: Design, smallest_effect: float
) -> np.ndarray:
    """Returns verdicts on the first groups, shape (boards, claims); lower is better."""
    found = compare(first, second, paired=design.paired, smallest_effect=smallest_effect)
    return verdicts(
        found.difference, holm(found.p), holm(found.p_equivalence), higher_is_better=False
    )


def false_verdicts(
    design: Design,
    components: Components,
    rng: np.random.Generator,
    boards: int = LEADERBOARDS,
    skew: float = 0.0,
) -> tuple[float, float]:
    """Returns the shares of leaderboards with a false "better" or "worse", and with a false "within
    noise".

    For the latter the difference is the smallest effect of interest itself, twice the deviation of
    retraining.
    """
    effect = 2 * components.retraining
    first, second = simulate(design, components, rng, boards=boards, claims=CLAIMS, skew=skew)
    wrong = np.isin(judged(first, second, design, effect), ("better", "worse")).any(-1)
    alike = (judged(first + effect, second, design, effect) == "within noise").any(-1)
    return float(wrong.mean()), float(alike.mean())


def calibrate(names: Sequence[str] = tuple(COMPONENTS), boards: int = LEADERBOARDS) -> pd.DataFrame:
    """Returns a row per design, set of components and noise: coverage of its intervals, rates of
    false verdicts.

    The latter with skewed noise for the components first measured alone.

    Args:
        names: Of :data:`COMPONENTS`.
        boards: Leaderboards for the verdicts; there are ten times as many for the intervals.
    """
    records, measured = [], next(iter(COMPONENTS.values()))
    for name in names:
        components, rng = COMPONENTS[name], np.random.default_rng([0, list(COMPONENTS).index(name)])
        for design in GROUPS:
            for noise, skew in NOISES.items():
                covered = coverage(design, components, rng, 10 * boards, skew)
                records.append(
                    {"what": "interval", "design": design.title, "components": name}
                    | {"noise": noise, "interval over": covered.scope, "coverage": covered.plain}
                    | {"coverage in logarithms": covered.logarithms}
                )
        for design in PAIRS:
            for noise, skew in (
                NOISES.items() if components is measured else {"normal": 0.0}.items()
            ):
                for alike in (0.0, 1.0) if noise == "normal" else (0.0,):
                    wrong, same = false_verdicts(
                        design, components._replace(alike=alike), rng, boards, skew
                    )
                    records.append(
                        {"what": "claims", "design": design.title, "components": name}
                        | {"noise": noise, "alike": alike, "false better or worse": wrong}
                        | {"false within noise": same}
                    )
    return pd.DataFrame(records)


def cost_of_skew(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the least and the mean coverage by noise, a row per interval's scope and scale."""
    known = found[found["what"] == "interval"].melt(
        ["interval over", "noise"], ["coverage", "coverage in logarithms"], "scale", "covered"
    )
    table = known.pivot_table("covered", ["interval over", "scale"], "noise", ["min", "mean"])
    return table.reindex(columns=list(NOISES), level=1)


def power(
    design: Design,
    components: Components,
    rng: np.random.Generator,
    effects: Sequence[float],
    boards: int,
) -> pd.DataFrame:
    """Returns for each effect, in deviations of retraining, how often one claim is decided.

    ``better``: verdicts on a group that is better by the effect, whatever the smallest effect of
    interest; ``within noise``: verdicts on an equally good group where the effect is the smallest
    of interest.
    """
    first, second = simulate(design, components, rng, boards=boards)
    sizes = np.asarray(effects) * components.retraining
    null = compare(
        first, second, paired=design.paired, smallest_effect=np.maximum(sizes, 1e-9)[:, None, None]
    )
    alike = (
        verdicts(null.difference, null.p, null.p_equivalence, higher_is_better=False)
        == "within noise"
    )
    better = [judged(first - size, second, design, 1e-9) == "better" for size in sizes]
    return pd.DataFrame(
        {
            "design": design.title,
            "effect": effects,
            "better": np.mean(better, axis=(1, 2)),
            "within noise": alike.mean((1, 2)),
        }
    )


def powers(rng: np.random.Generator, boards: int = LEADERBOARDS) -> pd.DataFrame:
    """Returns the power of every design of :data:`PAIRS` under the components first measured."""
    components = next(iter(COMPONENTS.values()))
    effects = np.linspace(0, 6, 13).tolist()
    return pd.concat(
        [power(design, components, rng, effects, boards) for design in PAIRS], ignore_index=True
    )


def draw(curves: pd.DataFrame) -> bytes:
    """Returns the power curves as a PNG file."""
    paired = curves["design"].str.contains("paired")
    curves = curves.assign(sides=np.where(paired, "paired", "apart"))
    with theme():
        figure, panels = panel_grid(2, (4.6, 4.0), margin=(1.3, 0), sharey=True)
        for axes, column in zip(panels, ("better", "within noise"), strict=True):
            dashes = {"apart": DASHES[0], "paired": DASHES[1]}
            names = {"x": "effect", "y": column, "hue": "design", "style": "sides"}
            lines = {"palette": "tab10", "dashes": dashes, "lw": 1.6}
            seaborn.lineplot(curves, ax=axes, estimator=None, **names, **lines)
            axes.axhline(0.8, color="0.6", lw=0.8, zorder=0)
            axes.set(title=f"verdict “{column}”", ylim=(0, 1.02), ylabel="share of claims")
        panels[0].set_xlabel("true difference / deviation of retraining")
        smallest = "smallest effect of interest / deviation of retraining,\nno true difference"
        panels[1].set_xlabel(smallest)
        legend_beside(figure, take_legend(*panels))
        return rendered(figure)["png"]


def main() -> None:
    """Writes the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--leaderboards", type=int, default=LEADERBOARDS)
    options = parser.parse_args()
    found = calibrate(boards=options.leaderboards)
    curves = powers(np.random.default_rng(1), options.leaderboards)
    for name, table in (("calibration", found), ("power", curves)):
        put(
            options.folder / f"{name}.csv",
            table.to_csv(index=False, float_format="%.4g", lineterminator="\n").encode(),
        )
    put(options.folder / "power.png", draw(curves))
    print(found.to_string(index=False))
    print(
        "coverage of 95 % intervals by noise:", cost_of_skew(found).round(3).to_string(), sep="\n"
    )


if __name__ == "__main__":
    main()
