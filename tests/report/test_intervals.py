"""One interval for the table, the figures, the tie marks and the verdicts, within the bounds of its
metric.
"""

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from rich.console import Console
from synthetic_results import PROVENANCE, complete, floor_of, results_of, suite_of

from bench.metrics.registry import METRICS
from bench.report import formats
from bench.report.comparison import explain
from bench.report.console import print_leaderboard
from bench.report.figures.inspections import loss_points
from bench.report.figures.quality import versus_compute
from bench.report.figures.style import Style
from bench.report.figures.summary import summarise
from bench.report.markdown import markdown
from bench.report.models import heldout_losses
from bench.report.page.document import html
from bench.report.ranking import ranking
from bench.report.seeds import measured, seed_table
from bench.report.standing import best_of
from bench.spec import place
from bench.store import Store, UnitId

FD, RECALL, KD = "fd(digits-cnn@8)", "recall(digits-cnn@8)", "kd(digits-cnn@8)"
SUITE = """
name: intervals
dataset: digits
metrics: [fd, recall, kd]
samples: {{count: 32, batch: 32, seeds: {sample_seeds}}}
likelihood: none
inspect: {inspect}
train:
  good: {{method: toy, params: {{quality: 0.5}}, seeds: {train_seeds}}}
  twin: {{method: toy, params: {{kind: a, quality: 0.5}}, seeds: {train_seeds}}}
  poor: {{method: mute, params: {{quality: 3.0}}, seeds: {train_seeds}}}
points:
  - {{train: [good, twin, poor], sampler: euler, grid: {{nfe: [10]}}}}
  - {{train: good, sampler: heun, grid: {{nfe: [10]}}}}
{claims}
"""
CLAIMS = """
claims:
  - {metric: fd(digits-cnn@8), smallest_effect: 0.2,
     pairs: [[poor, good euler], [good heun, good euler]]}
"""


def noise(*what):
    return np.random.default_rng([sum(map(ord, str(one))) for one in what]).normal()


def value_of(point, score):
    """Distances of large spread near 0, shares near 1 (some of them 1), and kernel distances about
    0.
    """
    spec = point.sample
    quality = dict(spec.train.params).get("quality", 1.0)
    effect = noise(spec.train.seed, spec.train.method, quality) + noise("b", spec.seed)
    effect += 0.3 * noise(spec.train.seed, spec.seed, spec.sampler, point.train)
    if score.metric == "fd":
        return quality * math.exp((0.4 if quality < 1 else 0.05) * effect)
    if score.metric == "recall":
        return min(1.0, 0.97 + 0.03 * effect)
    return 0.01 * effect


def finished(tmp_path, train_seeds, sample_seeds, claims="", inspect="null"):
    """Returns a suite, its store and its results, which are synthetic."""
    numbers = {"train_seeds": list(range(train_seeds)), "sample_seeds": list(range(sample_seeds))}
    suite = suite_of(SUITE.format(**numbers, claims=claims, inspect=inspect), tmp_path)
    store = Store(tmp_path / "store")
    complete(store, suite, images=False)
    for point in suite.points:
        for score in point.scores:
            identity = {"metric": score.metric, "count": score.count}
            record = {
                "value": value_of(point, score),
                "identity": identity,
                "provenance": PROVENANCE,
            }
            store.finish(UnitId(*place(score)), record)
    return suite, store, results_of(suite, store)


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("crossed"), 6, 3, CLAIMS, "{images: 64}")


def test_every_metric_declares_bounds_that_its_values_keep():
    unbounded = {name for name, card in METRICS.items() if not math.isfinite(card.bounds[0])}
    assert unbounded == {"kd", "fd_infinity"}
    within_two = {name for name, card in METRICS.items() if math.isfinite(card.bounds[1])}
    restored = {"unknown_rmse", "unknown_best", "diversity", "known_rmse", "known_max"}
    assert within_two == {
        "precision",
        "recall",
        "coverage",
        "near_copies",
        "accuracy",
        "mode_weight_error",
        *restored,
    }
    assert METRICS["is"].bounds[0] == 1


def test_brackets_stay_within_the_bounds_of_their_metric(crossed):
    _, _, results = crossed
    board = results.board
    for name, card in results.metrics.items():
        least, most = card.bounds
        low, high = board[f"{name} low"], board[f"{name} high"]
        assert (low > least).all()
        assert (high < most).all()
        assert ((low < board[name]) & (board[name] < high)).all()
    assert (board[f"{KD} low"] < 0).any(), "a kernel distance may be below 0"


def test_table_figures_terminal_and_uncertainty_show_one_interval(crossed):
    suite, _, results = crossed
    board, parts = results.board, results.uncertainty
    text, page = markdown(results), html(results)
    output = io.StringIO()
    print_leaderboard(results, Console(file=output, width=40))
    in_tables = (results.first_metric, results.second_metric)
    for metric in results.metrics:
        drawn = summarise(results.groups, Style(results.rows, list(suite.train)), metric)
        for _, group in board.iterrows():
            shown = tuple(group[[metric, f"{metric} low", f"{metric} high"]])
            of_group = parts[(parts["group"] == group["group"]) & (parts["metric"] == metric)].iloc[
                0
            ]
            assert tuple(of_group[["mean", "low", "high"]]) == shown
            line = drawn[
                (drawn["train"] == group["train"]) & (drawn["sampler"] == group["sampler"])
            ].iloc[0]
            assert tuple(line[["mean", "low", "high"]]) == shown
            assert formats.with_interval(*shown) in page
            half = formats.value_text(group, metric)
            assert (metric not in in_tables) or (half in text and half in output.getvalue())
            assert group[f"{metric} interval over"] == "trainings and sample seeds"


def test_tie_marks_and_verdicts_rest_on_the_interval_of_the_difference(crossed):
    suite, store, results = crossed
    board, judged = results.board, results.verdicts
    (best,) = best_of(board, FD, higher=False)
    assert board.loc[best[0], "train"] in ("good", "twin")
    tied = board.set_index("group")[f"{FD} tied"]
    assert not tied["poor · euler · nfe 10"]
    assert pd.isna(tied[board.loc[best[0], "group"]])
    assert set(judged["verdict"]) <= {"better", "worse", "undecided", "within noise"}
    for _, claim in judged.iterrows():
        if claim["verdict"] in ("better", "worse"):
            assert not claim["low"] <= 0 <= claim["high"]
    if board.loc[best[0], "group"] == "good · euler · nfe 10":
        assert not judged["low"][0] <= 0 <= judged["high"][0]
    marked = [line for line in ranking(results).cells if line[4].text.startswith(formats.TIED)]
    assert len(marked) == int(tied.fillna(False).sum()) > 0
    floor_of(
        store, suite, 0.4, 100.0
    )  # what one set of real images scores is no yardstick of means
    again = results_of(suite, store).board.set_index("group")[f"{FD} tied"]
    assert again.equals(tied)


@pytest.mark.parametrize(
    ("train_seeds", "sample_seeds", "mark"),
    [(1, 3, "†"), (3, 1, "‡"), (1, 2, ""), (2, 2, ""), (2, 1, "")],
)
def test_what_few_seeds_cannot_say_is_marked_or_shown_as_values(
    tmp_path, train_seeds, sample_seeds, mark
):
    suite, _, results = finished(tmp_path, train_seeds, sample_seeds)
    board = results.board
    text, page = markdown(results), html(results)
    for _, group in board.iterrows():
        shown = formats.metric_text(group, FD)
        assert shown in page
        assert formats.value_text(group, FD) in text
        if mark:
            assert shown.endswith(f"] {mark}")
            continue
        values = seed_table(
            results.rows[results.rows["group"] == group["group"]], FD
        ).values.ravel()
        assert group[f"{FD} values"] == tuple(values)
        assert shown == f"{formats.number(group[FD])} ({', '.join(map(formats.number, values))})"
        assert pd.isna(group[f"{FD} low"])
        assert pd.isna(group[f"{FD} tied"])
    assert (
        "One sample seed: 4 of 4 rows say nothing of what other sample seeds would give." in text
    ) == (sample_seeds == 1)
    assert (f"No differences from the best are judged in {FD}, {RECALL}, {KD}" in text) == (
        not mark
    )
    drawn = summarise(results.groups, Style(results.rows, list(suite.train)), FD)
    assert drawn["low"].isna().all() == (not mark)
    assert all(
        len(values) == (0 if mark else train_seeds * sample_seeds) for values in drawn["values"]
    )


def test_a_mean_on_its_bound_stands_without_a_bracket():
    shown = measured(np.ones((3, 4)), (0, 1))
    assert (shown.mean, shown.scope, shown.values) == (1, "", ())
    assert formats.measured_text(shown) == "1.00"


def test_many_values_are_shown_by_their_range():
    own = np.full((2, 6), np.nan)
    own[0, :3], own[1, 3:] = (
        [1, 2, 3],
        [4, 5, 6],
    )  # two trainings, each with sample seeds of its own
    assert formats.measured_text(measured(own, (0, math.inf))) == "3.50 (1.00 to 6.00)"
    assert formats.measured_text(measured(np.array([[2.0]]), (0, math.inf))) == "2.00"


def test_held_out_losses_have_the_interval_of_their_trainings_in_table_and_figure(crossed):
    _, _, results = crossed
    (part,) = heldout_losses(results.inspections)
    points = loss_points(results.inspections)
    good = points[points["train"] == "good"]
    assert [cell.text for cell in part.cells[0][4:]] == [
        f"{formats.with_interval(point['mean'], point['low'], point['high'])} ‡"
        for _, point in good.iterrows()
    ]
    assert (good["low"] > 0).all()


def test_explain_says_whether_two_rows_are_told_apart(crossed):
    _, _, results = crossed
    groups = {
        name: results.rows[results.rows["group"] == f"{name} · euler · nfe 10"]
        for name in ("good", "poor", "twin")
    }
    lines = "\n".join(explain(results, groups["poor"], groups["good"]))
    assert "(for other trainings and sample seeds): told apart" in lines
    one = {
        name: group[(group["train_seed"] == 0) & (group["sample_seed"] == 0)]
        for name, group in groups.items()
    }
    assert "of too few values in common for an interval" in "\n".join(
        explain(results, one["poor"], one["good"])
    )


def test_pictures_draw_intervals_as_bands_and_values_as_dots(tmp_path):
    suite, _, results = finished(tmp_path, 3, 2)
    rows, style = results.rows, Style(results.rows, list(suite.train))
    only_fd = {FD: results.metrics[FD]}
    for part, dots in ((rows, 0), (rows[rows["train_seed"] == 0], 3 * 2)):
        some = replace(results, rows=part, metrics=only_fd, floors={})
        figure, draw = next(versus_compute(some, style))
        assert "band and bars: its 95 % interval as in the table" in figure.caption
        axes = draw().axes[0]
        drawn = [
            found
            for found in axes.collections
            if isinstance(found, PathCollection) and found.get_alpha() == 0.5
        ]
        assert sum(len(found.get_offsets()) for found in drawn) == dots
        bars = [
            len(found.get_segments())
            for found in axes.collections
            if isinstance(found, LineCollection)
        ]
        assert sum(bars) == (0 if dots else 3), "of each model its best sampler"
