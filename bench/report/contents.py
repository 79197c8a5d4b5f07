"""The report as a person reads it: its sections in order."""

import pandas as pd

from bench.report.formats import compact, model_title, number, probability, with_interval
from bench.report.front import COSTS
from bench.report.models import heldout_losses, models
from bench.report.notices import notices
from bench.report.ranking import rankings
from bench.report.reading import reading
from bench.report.results import Results
from bench.report.section import Cell, Section
from bench.report.verdicts import UNDECIDED
from bench.suite.claims import LEAST_PAIRS, LEAST_TRAININGS


def sections(results: Results) -> list[Section]:
    """Returns the parts of the report: a summary, claims, a table per budget, what is dominated,
    the models, what is missing, how to read it.
    """
    parts = [
        Section("", [_summary(results), *notices(results)]),
        _claims(results.verdicts),
        *rankings(results),
        _front(results),
        models(results),
        *heldout_losses(results.inspections),
        Section("Not ranked together", bullets=results.unranked),
        _missing(results),
        reading(results),
    ]
    return [part for part in parts if not part.is_empty]


def _summary(results: Results) -> str:
    done = int((results.rows["state"] == "done").sum())
    return (
        f"{len(results.board)} groups of {len(results.rows)} points ({done} done) on "
        f"{results.dataset}; one row per group: mean over trainings and sample seeds [95 % "
        "interval], or (the values) of too few for one."
    )


def _claims(judged: pd.DataFrame) -> Section:
    """Returns the claims of the suite with their verdicts."""
    text = (
        "Stated in the suite: each verdict is on the first group. The unit is a training: groups "
        "that share their trainings are compared in pairs, of which a claim needs "
        f"{LEAST_PAIRS}; others need {LEAST_TRAININGS} trainings each; exact scores, which have "
        f"none, {LEAST_PAIRS} sample seeds. p: two-sided, after Holm's "
        f"correction over {len(judged)} claims. Within noise: two one-sided t tests say that the "
        "difference is smaller than the smallest effect of interest; if no test says anything, "
        "the verdict is undecided. Better and worse ask that the interval does not hold 0, "
        "and more."
    )
    headers = ["first", "second", "metric", "NFE", "verdict", "first's mean", "second's mean"]
    headers += ["difference [95 %]", "smallest effect", "p", "p of equivalence", "test", "note"]
    cells = [_claim(claim) for _, claim in judged.iterrows()]
    return Section("Claims", [text], headers, cells)


def _claim(claim: pd.Series) -> list[Cell]:
    costs = dict.fromkeys(compact(claim[f"{side}_nfe"]) for side in ("first", "second"))
    facts = [claim["first"], claim["second"], claim["metric"], " / ".join(costs)]
    values = [
        number(claim["first_mean"]),
        number(claim["second_mean"]),
        with_interval(claim["difference"], claim["low"], claim["high"]),
        number(claim["smallest_effect"]),
        probability(claim["p_holm"]),
        probability(claim["p_equivalence_holm"]),
        claim["test"],
        claim["note"],
    ]
    verdict = Cell(claim["verdict"], claim["verdict"] != UNDECIDED)
    return [*map(Cell, facts), verdict, *map(Cell, values)]


def _front(results: Results) -> Section:
    """Returns the groups that are off the Pareto front, and what beats them."""
    text = (
        f"Complete groups that another one beats by the mean of {results.first_metric or ''} for "
        "no more cost; blank: on the front of that cost. Whether a difference is more than noise "
        "is a claim's question."
    )
    headers = ["group", *(f"beaten in {cost} by" for cost in COSTS.values())]
    cells = [list(map(Cell, row)) for row in results.dominated.itertuples(index=False)]
    return Section("Dominated", [text], headers, cells)


def _missing(results: Results) -> Section:
    lacking = results.board[results.board["state"] != "done"]
    bullets = [
        f"{group['group']}: {group['state']}; {group['cause']}"
        + (f"; log: {group['log']}" if group["log"] else "")
        for _, group in lacking.iterrows()
    ]
    bullets += [
        f"held-out loss of {model_title(one.train, one.snapshot, one.ema)}, seed {one.seed}: "
        f"{one.cause}"
        for one in results.inspections
        if one.cause
    ]
    return Section("What is missing", bullets=bullets)
