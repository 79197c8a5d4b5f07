"""Figures: what they show, and what they leave out."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CARDS, FD, IS, finish_inspection, finish_scores, results_of

from bench.data.images import load_images
from bench.report.figures import training
from bench.report.figures.canvas import tile
from bench.report.figures.density import best_group, onto_plane
from bench.report.figures.families import draw as draw_figures
from bench.report.figures.figure import slug
from bench.report.figures.inspections import loss_points
from bench.report.figures.quality import versus_compute
from bench.report.figures.samples import Sheet
from bench.report.figures.style import Style
from bench.report.figures.summary import complete as complete_groups
from bench.report.figures.summary import summarise
from bench.report.records import Records
from bench.report.writer import write
from bench.spec import place
from bench.store import UnitId


def test_held_out_losses_are_drawn_by_noise_level_or_by_time_where_a_model_has_none(small):
    suite, store = small
    finish_inspection(store, suite.inspections["mute"][0], noise_levels=[None] * 3)
    points = loss_points(results_of(suite, store).inspections)
    good, mute = points[points["train"] == "good"], points[points["train"] == "mute"]
    assert (list(good["level"]), set(good["axis"]), set(good["panel"])) == (
        [0.1, 1, 10],
        {"noise level"},
        {"Toy, std"},
    )
    assert good["mean"].tolist() == [1, 1.5, 2.5]
    assert good["values"].tolist() == [(0.5, 1.5), (1, 2), (2, 3)]
    assert good[["low", "high"]].isna().all(axis=None)
    assert (list(mute["level"]), set(mute["axis"])) == ([0.25, 0.5, 1], {"t"})
    store.discard(UnitId(*place(suite.inspections["good"][1])))
    assert set(loss_points(results_of(suite, store).inspections)["train"]) == {"mute"}


def test_unreadable_lines_of_a_training_log_are_left_out_of_its_curve(small, tmp_path):
    suite, store = small
    spec = suite.train["good"][0]
    log = store.folder("train", place(spec)[1]) / "log.jsonl"
    lines = [
        b'{"images": 10, "loss": 0.5}',
        b'{"images": "many", "loss": 1}',
        b"\xff\xfe{",
        b"[1, 2]",
        b"7",
        b"",
    ]
    lines += [
        b'{"images": 20, "loss": [1], "heldout_loss": 0.25}',
        b'{"images": true, "loss": 1}',
        b'{"images": 30',
    ]
    lines += [
        b'{"images": 40, "loss": NaN, "note": "\xff"}',
        b"[" * 100_000,
        b'{"images": 1' + b"0" * 400 + b"}",
    ]
    log.write_bytes(b"\n".join(lines))
    curve = training.read_log(spec, Records(store))
    assert curve["images"].tolist() == [10, 20, 40]
    assert curve["loss"].fillna(-1).tolist() == [0.5, -1, -1]
    assert curve["heldout_loss"].fillna(-1).tolist() == [-1, 0.25, -1]
    write(replace(suite, figures=("training",)), store, tmp_path / "report", methods=CARDS)
    assert (tmp_path / "report" / "figures" / "training.png").exists()


def test_without_warm_batches_quality_is_drawn_against_evaluations_alone(small, tmp_path):
    suite, store = small
    results = results_of(suite, store)
    cold = results.rows.assign(sampling_seconds_per_image=math.nan)
    few = replace(suite, figures=("quality-vs-compute", "*-by-model"))
    figures = draw_figures(few, replace(results, rows=cold), Records(store), tmp_path / "f")
    drawn = {figure.name: figure for figure in figures}
    assert drawn["quality-vs-compute"].fault == ""
    assert not any(figure.fault for figure in drawn.values())


def test_pictures_show_complete_groups_alone(small):
    suite, store = small
    point = next(p for p in suite.points if p.train == "good" and p.budget == 5)
    store.discard(UnitId(*place(point.scores[0])))
    results = results_of(suite, store)
    style = Style(results.rows, list(suite.train))
    shown = summarise(results.groups, style, FD)
    assert sorted(shown.query("train == 'good'")["nfe"].round()) == [19, 33]
    assert len(summarise(results.groups, style, IS)) == 5  # the other metric lacks nothing


def test_pictures_never_mix_identities_of_a_metric(small, tmp_path):
    suite, store = small
    for point in suite.points:
        if point.train == "good" and point.budget == 20 and point.sample.seed == 1:
            finish_scores(store, point, weights="bb" * 32)
    few = replace(suite, figures=("*-by-model",))
    results = write(few, store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    summary = summarise(results.groups, Style(rows, list(suite.train)), FD)
    at_20 = summary[(summary["train"] == "good") & (summary["nfe"] == 19)]
    for _, found in at_20.iterrows():
        same = pd.Series([identity.get(FD) for identity in rows["identity"]], rows.index)
        mine = rows[(same == found["identity"]) & (rows["train"] == "good")]
        assert found["mean"] == pytest.approx(mine.loc[mine["nfe"] == 19, FD].mean())
    assert list(at_20["seeds"]) == [2, 2]
    first, second = summary["identity"].unique()
    assert (summary["identity"] == first).sum() == 5
    drawn = {path.stem for path in (tmp_path / "report" / "figures").glob("fd-*-by-model.png")}
    assert drawn == {f"{slug(FD)}-{first}-by-model"}, "the other one has one model"
    assert f"Identity {first} alone, one of 2" in (tmp_path / "report" / "report.html").read_text()
    figure = next(versus_compute(results, Style(rows, list(suite.train)))).draw()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == [f"{FD} ({first})", f"{FD} ({second})"]
    assert len(titles) == 4, "the other metric has as many"


def test_a_group_that_lacks_a_seed_is_complete_for_no_identity(small):
    suite, store = small
    points = [p for p in suite.points if p.train == "good" and p.budget == 20]
    finish_scores(store, points[0], weights="bb" * 32)
    store.discard(UnitId(*place(points[1].scores[0])))
    groups = [group for group in results_of(suite, store).groups if group.name == points[0].group]
    assert len(groups) == 2
    assert not complete_groups(groups, FD)


def test_bits_per_dim_is_drawn_at_every_tolerance_of_the_sweep_and_of_the_table(small):
    suite, store = small
    points = pd.DataFrame(results_of(suite, store).sweep)
    assert set(points["train"]) == {"good"}
    assert sorted(set(points["tolerance"])) == [1e-3, 1e-2, 1e-1]
    assert len(points) == 2 * 3  # two training seeds
    assert points.query("tolerance == 0.01")["nfe"].tolist() == pytest.approx([54, 54])


def test_bits_per_dim_of_a_setting_that_one_training_lacks_is_not_drawn(small):
    suite, store = small
    spec = next(spec for spec in suite.sweep["good"] if dict(spec.params)["tolerance"] == 0.1)
    store.discard(UnitId("likelihood", place(spec)[1], "00000"))
    points = pd.DataFrame(results_of(suite, store).sweep)
    assert sorted(points["tolerance"]) == [1e-3, 1e-3, 1e-2, 1e-2]


def test_tile_puts_each_image_in_its_place_with_white_between():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones(
        (3, 1, 2, 2), dtype=np.uint8
    )
    sheet = tile(images, 2, levels=3)
    expected = np.ones((5, 5))
    expected[:2, :2], expected[:2, 3:], expected[3:, :2] = 0, 0.5, 1
    assert np.array_equal(sheet, np.repeat(expected[..., None], 3, axis=-1))


def test_tile_keeps_colours():
    image = np.array([0, 128, 255], dtype=np.uint8).reshape(1, 3, 1, 1)
    assert tile(image, 1, levels=256)[0, 0].tolist() == [0, 128 / 255, 1]


def test_file_names_are_made_of_letters_digits_and_dashes():
    assert slug("fd(digits-cnn@8, to test)") == "fd-digits-cnn-8-to-test"


def test_points_of_many_dimensions_are_drawn_in_the_plane_in_which_real_ones_vary_most():
    data = load_images("gaussian_mixture")
    blocks = [Sheet("samples", data.train[:100]), Sheet("held out", data.test)]
    (samples, held_out), (low, high) = onto_plane(blocks, data)
    assert samples.images.shape == (100, 2, 1, 1)
    variances = np.linalg.eigvalsh(np.cov(data.test.reshape(-1, 8).T))[::-1]
    np.testing.assert_allclose(
        held_out.images.reshape(-1, 2).var(0, ddof=1), variances[:2], rtol=1e-9
    )
    assert low == -high
    assert np.abs(held_out.images).max() == pytest.approx(high / 1.1)
    plane = load_images("two_modes")
    blocks = [Sheet("held out", plane.test)]
    assert onto_plane(blocks, plane) == (blocks, plane.range)


def test_a_suite_may_ask_for_figures_by_name(small, tmp_path, capsys):
    suite, store = small
    chosen = replace(suite, figures=("heldout-*", "training", "trainning"))
    write(chosen, store, tmp_path, methods=CARDS)
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {"heldout-loss", "training"}
    why = "report: figures: trainning: there is no such figure; did you mean training?"
    assert capsys.readouterr().err.splitlines() == [why]


def test_the_density_of_a_model_is_that_of_its_best_complete_group():
    rows = pd.DataFrame(
        {
            "group": ["a", "a", "b", "b", "c", "c"],
            "state": ["done", "done", "done", "done", "done", "failed"],
            "fd": [2.0, 4.0, 1.0, 3.0, 0.1, np.nan],
        }
    )
    assert best_group(rows, "fd", higher=False)["group"].tolist() == ["b", "b"]
    assert best_group(rows, "fd", higher=True)["group"].tolist() == ["a", "a"]
    assert best_group(rows[rows["group"] == "c"], "fd", higher=True).empty
