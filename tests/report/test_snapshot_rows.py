"""Snapshots of a training in the table, on the page and in figures."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_results import CARDS, FD, PROVENANCE, complete, results_of

from bench.card import TrainingCard
from bench.report.best_snapshot import best_snapshots
from bench.report.figures.figure import slug
from bench.report.figures.style import Style
from bench.report.figures.summary import ends, learning, summarise
from bench.report.formats import number
from bench.report.notices import notices
from bench.report.writer import write
from bench.spec import place
from bench.store import Store, UnitId
from bench.suite.reader import read_suite
from bench.suite.resolved import Suite

LEARNING = """
name: learning
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 8, seeds: [0, 1]}
train:
  kept: {method: toy, snapshots: [100, 400]}
  plain: {method: toy, params: {quality: 0.5}}
points:
  - {train: [kept, plain], sampler: euler, grid: {nfe: [5, 10]}}
"""


@pytest.fixture
def learnt(tmp_path: Path) -> tuple[Suite, Store]:
    path = tmp_path / "suite.yaml"
    path.write_text(LEARNING)
    keeps = {"toy": replace(CARDS["toy"], training=TrainingCard(images=lambda params: 1000))}
    suite, store = read_suite(path, cards=keeps), Store(tmp_path / "store")
    complete(store, suite)
    for point in suite.points:
        unit = UnitId(*place(point.sample.model))
        store.finish(unit, {"images": point.sample.snapshot or 1000, "provenance": PROVENANCE})
    return suite, store


def test_rows_of_a_snapshot_carry_what_it_had_seen(learnt):
    results = results_of(*learnt)
    rows = results.rows
    assert rows["snapshot"].isna().sum() == 8  # kept and plain, two budgets, two seeds
    assert (rows["training_images"] == rows["snapshot"].fillna(1000)).all()
    assert set(rows.loc[rows["snapshot"].notna(), "train"]) == {"kept"}


def test_the_best_snapshot_is_named_and_said_to_be_selected_on_the_metric(learnt):
    results = results_of(*learnt)
    board, lines = results.board, best_snapshots(results)
    assert len(lines) == 2  # of kept at both budgets; plain keeps none
    for line, budget in zip(lines, (5, 10), strict=True):
        curve = board[(board["train"] == "kept") & (board["budget"] == budget)]
        best = curve.loc[curve[FD].idxmin()]
        assert line.startswith("Best of 3 snapshots of kept with euler")
        assert f"{FD} {number(best[FD])} " in line
        images = best["snapshot"]
        assert ("at the end" if images is pd.NA else f"after {images} images") in line
        assert "Selected on the metric itself" in line
    assert set(lines) <= set(notices(results))


def test_the_learning_curve_has_snapshots_and_end_at_the_largest_budget_of_models_that_keep_some(
    learnt,
):
    results = results_of(*learnt)
    rows = results.rows
    summary = learning(results.groups, Style(rows, ["kept", "plain"]), FD)
    assert list(summary["train"]) == ["kept"] * 3
    assert list(summary["training_images"]) == [100, 400, 1000]
    largest = rows[(rows["train"] == "kept") & (rows["budget"] == 10)]
    for _, point in summary.iterrows():
        values = largest.loc[largest["training_images"] == point["training_images"], FD]
        assert len(values) == 2
        assert point["mean"] == pytest.approx(values.mean())
        assert sorted(point["values"]) == sorted(values)


def test_the_page_names_snapshots_and_pictures_of_compute_leave_them_out(learnt, tmp_path):
    suite, store = learnt
    write(replace(suite, figures=("*-vs-training",)), store, tmp_path / "out", methods=CARDS)
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "| kept after 400 images |" in text
    assert "| kept " in text
    assert (tmp_path / "out" / "figures" / f"{slug(FD)}-vs-training.png").exists()
    results = results_of(suite, store)
    style = Style(results.rows, ["kept", "plain"])
    assert len(summarise(ends(results.groups), style, FD)) == 4
