"""How often a report calls a difference established where there is none: pages of equal models.

    python -m bench.report.leads FOLDER        # leads.csv

A page has several models, each with some samplers at some budgets, all equally good: what is
called established on it is false. Pages are judged by :mod:`bench.report.standing`, as the report
judges them, from values that are simulated as in :mod:`bench.report.calibration`.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.files import write as put
from bench.metrics.registry import METRICS
from bench.report.calibration import COMPONENTS, NOISES, Components, effects
from bench.report.group import groups_of
from bench.report.standing import ESTABLISHED, behind, verdicts

PAGES = 400
METRIC = "fd"
FAR = 100.0
"""Mean of all values, in standard deviations of an effect of size 1: far from a metric's bound."""


class Page(NamedTuple):
    """What stands on a simulated page.

    Args:
        samplers: Of each model.
        trainings: Of each model, ``seeds`` the sample seeds of each row.
    """

    models: int
    samplers: int
    budgets: int
    trainings: int
    seeds: int

    @property
    def title(self) -> str:
        """``3 models × 2 samplers × 3 budgets, 6 × 4``."""
        rows = f"{self.models} models × {self.samplers} samplers × {self.budgets} budgets"
        return f"{rows}, {self.trainings} × {self.seeds}"


DESIGNS = (
    Page(5, 1, 3, 5, 4),
    Page(5, 1, 3, 7, 4),
    Page(1, 5, 3, 8, 4),
    Page(3, 2, 3, 8, 4),
)
"""Pages on which something can be called established: only so many trainings allow a test."""


def page_of(
    page: Page, components: Components, rng: np.random.Generator, skew: float = 0.0
) -> pd.DataFrame:
    """Returns the points of a page of equally good rows.

    Half of the variance of retraining is that of a model, the other half that of a row; all rows
    share ``components.alike`` of what a sample seed does.
    """
    shape, alike = (page.trainings, page.seeds), components.alike
    common, points = effects(rng, (1, page.seeds), skew), []
    for model in range(page.models):
        trained = effects(rng, (page.trainings, 1), skew)
        for sampler, budget in np.ndindex(page.samplers, page.budgets):
            own = (trained + effects(rng, (page.trainings, 1), skew)) / np.sqrt(2)
            seed = np.sqrt(alike) * common
            seed = seed + np.sqrt(1 - alike) * effects(rng, (1, page.seeds), skew)
            values = FAR + components.retraining * own + components.shared * seed
            values = values + components.apart * effects(rng, shape, skew)
            trainings, seeds = np.indices(shape)
            row = {"group": f"{model} {sampler} {budget}", "train": f"{model}", "budget": budget}
            row |= {METRIC: values.ravel(), "sample_seed": seeds.ravel(), "nfe": 10.0}
            row["train_key"] = [f"{model} {training}" for training in trainings.ravel()]
            points.append(pd.DataFrame(row))
    table = pd.concat(points, ignore_index=True)
    return table.assign(identity=[{METRIC: "same"}] * len(table), state="done")


def false_leads(points: pd.DataFrame) -> int:
    """Returns how many rows of a page are called established to be behind the best."""
    card = METRICS[METRIC]
    groups = groups_of(points, {METRIC: card})
    board = points.groupby("group", sort=False)[["train", "budget", "identity", "state"]].first()
    board = board.assign(**{METRIC: points.groupby("group", sort=False)[METRIC].mean()})
    board = board.reset_index()
    board = board.assign(**behind(board, groups, METRIC, card))
    return int((verdicts(board, groups, METRIC, card)["verdict"] == ESTABLISHED).sum())


def calibrate(pages: int = PAGES) -> pd.DataFrame:
    """Returns a row per design, set of components and noise: the share of pages on which something
    is called established, all of which is false.
    """
    records, measured = [], next(iter(COMPONENTS))
    for place, (name, components) in enumerate(COMPONENTS.items()):
        rng = np.random.default_rng([2, place])
        noises = NOISES if name == measured else {"normal": NOISES["normal"]}
        for design in DESIGNS:
            for noise, skew in noises.items():
                for alike in (0.0, 1.0) if noise == "normal" else (0.0,):
                    drawn = components._replace(alike=alike)
                    false = sum(
                        false_leads(page_of(design, drawn, rng, skew)) > 0 for _ in range(pages)
                    )
                    records.append(
                        {"page": design.title, "components": name, "noise": noise}
                        | {"alike": alike, "pages": pages, "false established": false / pages}
                    )
    return pd.DataFrame(records)


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=PAGES)
    options = parser.parse_args()
    found = calibrate(options.pages)
    text = found.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    put(options.folder / "leads.csv", text.encode())
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
