"""The report as a person reads it: its sections in order."""

from functools import lru_cache

import pandas as pd

from bench.report.facts import facts
from bench.report.formats import compact, model_title, number, probability, with_interval
from bench.report.headline import verdict
from bench.report.models import models
from bench.report.notices import notices
from bench.report.ranking import at_equal_compute, ranking, to_reach
from bench.report.reading import dependencies, reading
from bench.report.results import Results
from bench.report.section import Cell, Section
from bench.report.verdicts import UNDECIDED
from bench.suite.claims import LEAST_PAIRS, LEAST_TRAININGS


def sections(results: Results) -> list[Section]:
    """Returns the report in Markdown: verdict, facts, warnings, the leaderboard, ranks at equal
    compute, claims, the models, what is missing, how to read it.
    """
    known = facts(results)
    parts = [
        _verdict(results),
        Section("", ["; ".join(f"{name}: {text}" for name, text in known.items()) + "."]),
        Section("", bullets=notices(results)),
        ranking(results),
        *compared(results),
        models(results),
        *missing(results),
        reading(results),
        dependencies(results),
    ]
    return [part for part in parts if not part.is_empty]


def _verdict(results: Results) -> Section:
    """Returns who leads at each budget, a sentence each, and what that rests on."""
    found = verdict(results)
    bullets = [*(one.sentence for one in found.headlines), *found.basis]
    return Section("Verdict", [found.intro], bullets=bullets)


@lru_cache(maxsize=1)
def compared(results: Results) -> list[Section]:
    """Returns what compares models beside the leaderboard: equal compute, claims; kept for the next
    output.
    """
    return [at_equal_compute(results), to_reach(results), _claims(results.verdicts)]


def missing(results: Results) -> list[Section]:
    """Returns what is not ranked together, and what is not there."""
    return [Section("Not ranked together", bullets=results.unranked), _missing(results)]


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
    headers = ["first against second", "metric (NFE)", "verdict", "means", "difference [95 %]"]
    headers += ["smallest effect", "p (of equivalence)", "note"]
    cells = [_claim(claim) for _, claim in judged.iterrows()]
    return Section("Claims", [text], headers, cells)


def _claim(claim: pd.Series) -> list[Cell]:
    costs = dict.fromkeys(compact(claim[f"{side}_nfe"]) for side in ("first", "second"))
    means = (number(claim[f"{side}_mean"]) for side in ("first", "second"))
    equivalence = probability(claim["p_holm"]), probability(claim["p_equivalence_holm"])
    values = [
        " / ".join(means),
        with_interval(claim["difference"], claim["low"], claim["high"]),
        number(claim["smallest_effect"]),
        f"{equivalence[0]} ({equivalence[1]})" if any(equivalence) else "",
        "; ".join(filter(None, (claim["test"], claim["note"]))),
    ]
    pair = f"{claim['first']} against {claim['second']}"
    facts_of = [Cell(pair), Cell(f"{claim['metric']} ({' / '.join(costs)})")]
    decided = Cell(claim["verdict"], claim["verdict"] != UNDECIDED)
    return [*facts_of, decided, *map(Cell, values)]


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
