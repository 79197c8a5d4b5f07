"""The leaderboard: means and spreads over seeds, ranks, what is not averaged."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_results import group, made
from synthetic_results import FD, IS, SMALL, complete, fail, finish_scores, results_of, suite_of

from bench.plan import METRICS_PART
from bench.report.front import dominators, pareto
from bench.report.markdown import markdown
from bench.spec import part_name, place
from bench.store import Store, UnitId


def test_a_group_has_the_mean_and_the_sample_standard_deviation_of_its_seeds(small):
    suite, store = small
    results = results_of(suite, store)
    rows = results.rows
    part = rows[(rows["train"] == "good") & (rows["budget"] == 20)]
    group = results.board.query("train == 'good' and budget == 20").iloc[0]
    values = part[FD].to_numpy()
    assert (group["train_seeds"], group["sample_seeds"], group["points"]) == (2, 2, 4)
    assert group[FD] == pytest.approx(values.mean())
    assert group[f"{FD} sd"] == pytest.approx(np.std(values, ddof=1))
    of_trainings = [part[part["train_seed"] == seed][FD].mean() for seed in (0, 1)]
    assert group[f"{FD} sd over trainings"] == pytest.approx(np.std(of_trainings, ddof=1))


def test_spreads_are_blank_where_there_is_one_value(small):
    suite, store = small
    group = results_of(suite, store).board.query("train == 'mute'").iloc[0]
    assert math.isnan(group[f"{FD} sd over trainings"])
    assert math.isnan(group["bits_per_dim sd"])


def test_bits_per_dim_of_a_group_counts_each_model_once(small):
    suite, store = small
    second = suite.train["good"][1]
    for point in suite.points:
        if point.train == "good" and point.sample.train == second:
            for index, count in ((0, 4), (1, 2)):
                unit = UnitId("likelihood", place(point.likelihood)[1], part_name(index))
                store.finish(
                    unit, {**store.record(*unit), "values": {"bits_per_dim": [5.0] * count}}
                )
    results = results_of(suite, store)
    rows = results.rows
    rows = rows.drop(
        rows[(rows["train_seed"] == 1) & (rows["sample_seed"] == 1)].index
    )  # three rows, two models
    board = replace(results, rows=rows).board
    group = board.query("train == 'good' and budget == 5").iloc[0]
    one = rows[(rows["train"] == "good") & (rows["train_seed"] == 0)]["bits_per_dim"].iloc[0]
    assert group["bits_per_dim"] == pytest.approx((one + 5) / 2)
    assert group["bits_per_dim sd"] == pytest.approx(np.std([one, 5], ddof=1))


def test_training_cost_of_an_unbalanced_group_counts_each_model_once(small):
    suite, store = small
    dear = UnitId(*place(suite.train["good"][1]))
    changed = {"images": 300_000, "flops": 9.2e12, "seconds": 91.5}
    store.finish(dear, {**store.record(*dear), **changed})
    results = results_of(suite, store)
    rows = results.rows
    rows = rows.drop(
        rows[(rows["train_seed"] == 1) & (rows["sample_seed"] == 1)].index
    )  # three rows, two models
    board = replace(results, rows=rows).board
    group = board.query("train == 'good' and budget == 5").iloc[0]
    assert group["points"] == 3
    assert (group["training_images"], group["training_seconds"]) == (200_000, 61.5)
    assert group["training_flops"] == pytest.approx(6.2e12)


def test_ranks_run_within_a_budget_and_adaptive_samplers_have_none(small):
    suite, store = small
    board = results_of(suite, store).board
    for _, part in board[board["budget"].notna()].groupby("budget"):
        assert list(part.sort_values(FD)["rank"]) == [1, 2]
    assert board.query("sampler == 'adaptive'")["rank"].isna().all()
    assert list(board["budget"].fillna(math.inf)) == sorted(board["budget"].fillna(math.inf))


def test_a_metric_that_is_better_when_higher_ranks_the_highest_first(tmp_path):
    suite = suite_of(
        SMALL.replace("{metric: fd, allow_few: true}, is", "is, {metric: fd, allow_few: true}"),
        tmp_path,
    )
    store = Store(tmp_path / "store")
    complete(store, suite)
    board = results_of(suite, store).board.query("budget == 5")
    assert board.loc[board["rank"] == 1, IS].item() == board[IS].max()


def test_groups_given_in_steps_stand_at_the_nfe_that_they_measured(tmp_path):
    suite = suite_of(SMALL.replace("grid: {nfe: [5, 20]}", "grid: {steps: [3, 10]}"), tmp_path)
    store = Store(tmp_path / "store")
    complete(store, suite)
    board = results_of(suite, store).board.query("sampler == 'heun'")
    assert sorted(set(board["budget"])) == [5, 19]
    assert board["rank"].notna().all()


def test_a_group_is_not_ranked_on_the_seeds_that_survived(small):
    suite, store = small
    point = next(p for p in suite.points if p.train == "good" and p.budget == 5)
    unit = UnitId(*place(point.scores[0]))
    store.discard(unit)
    fail(store, unit._replace(part=METRICS_PART), "out of disk")
    board = results_of(suite, store).board
    group = board[board["group"] == point.group].iloc[0]
    assert group["state"] == "1 of 4 failed"
    assert group["cause"] == "metrics failed: out of disk"
    assert pd.isna(group["rank"])
    assert board.query("train == 'mute' and budget == 5")["rank"].item() == 1


def test_numbers_of_unlike_identity_are_neither_averaged_nor_ranked_together(small):
    suite, store = small
    for point in suite.points:
        if point.train == "good" and point.budget == 5 and point.sample.seed == 1:
            finish_scores(store, point, weights="bb" * 32)
    board = results_of(suite, store).board.query("budget == 5")
    parts = board[board["train"] == "good"]
    assert list(parts["points"]) == [2, 2]
    assert len({identity[FD] for identity in parts["identity"]}) == 2
    odd = parts[parts["identity"] != board.query("train == 'mute'")["identity"].item()]
    assert 1 in set(odd["rank"])
    assert sorted(board["rank"]) == [1, 1, 2]


def test_seconds_of_unlike_devices_have_no_mean(small):
    suite, store = small
    point = next(p for p in suite.points if p.budget == 5)
    for index in range(3):
        unit = UnitId("samples", place(point.sample)[1], part_name(index))
        record = store.record(*unit)
        store.finish(unit, {**record, "provenance": {**record["provenance"], "device": "fast"}})
    group = results_of(suite, store).board.query("train == 'good' and budget == 5").iloc[0]
    assert math.isnan(group["sampling_seconds_per_image"])
    assert group["device"] == "fast + cpu"


def test_pareto_front_is_what_no_other_point_beats():
    cost = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    value = np.array([5.0, 3.0, 4.0, 3.0, 1.0, 1.0])
    assert pareto(cost, value, higher=False).tolist() == [True, True, False, False, True, False]
    assert pareto(cost, -value, higher=True).tolist() == [True, True, False, False, True, False]
    assert pareto(np.array([1.0, 1.0]), np.array([2.0, 2.0]), higher=False).tolist() == [True, True]


def test_a_dominated_point_knows_the_best_that_beats_it():
    cost, value = np.array([1.0, 2.0, 3.0, 3.0]), np.array([3.0, 2.0, 2.5, 1.0])
    assert dominators(cost, value, higher=False).tolist() == [-1, -1, 3, -1]
    assert dominators(cost, value, higher=True).tolist() == [-1, 0, 0, 0]


def test_a_row_without_counted_flops_is_on_no_front_by_flops():
    costs = ((0.0, 3.0), (2.0, 2.0))  # the one without FLOPs is the worse one
    parts = [group(f"m{i}", "heun", 20, [[v]], gflops=g) for i, (g, v) in enumerate(costs)]
    board = made(*parts).board.set_index("train")
    assert board["pareto"].to_dict() == {"m0": False, "m1": True}
    assert board["beaten in GFLOPs by"].to_dict() == {"m0": "", "m1": ""}


def test_rows_that_another_beats_for_no_more_cost_are_named(small):
    suite, store = small
    results = results_of(suite, store)
    board = results.board
    best = board.loc[board[FD].idxmin()]
    assert best["pareto"]
    assert best["beaten in NFE by"] == ""
    dominated = board[board["beaten in NFE by"] != ""]
    assert len(dominated) == (~board["pareto"]).sum() > 0
    for _, beaten in dominated.iterrows():
        by = board[board["group"] == beaten["beaten in NFE by"]].iloc[0]
        assert by["nfe"] <= beaten["nfe"]
        assert by[FD] < beaten[FD]
    marked = [line for line in markdown(results).splitlines() if line.startswith("| ")]
    assert sum("◆" in line for line in marked) == board["pareto"].sum()
