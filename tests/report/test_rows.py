"""The tidy table: a row per point, with what was stored for it."""

import json
import math
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_results import (
    CARDS,
    FD,
    IS,
    PROVENANCE,
    SMALL,
    complete,
    cost_of,
    fail,
    results_of,
    row,
    suite_of,
)

from bench.data.images import load_images
from bench.report.markdown import markdown
from bench.report.page.detail import command
from bench.report.results import read_results
from bench.report.writer import write
from bench.spec import key, part_name, place
from bench.store import Store, UnitId
from bench.suite.reader import read_suite


def test_every_point_is_a_row_with_what_was_stored_for_it(small):
    suite, store = small
    results = results_of(suite, store)
    rows = results.rows
    assert list(rows["label"]) == [point.label for point in suite.points]
    point = next(
        p
        for p in suite.points
        if p.train == "good" and p.sample.sampler == "heun" and p.budget == 20
    )
    found = row(rows, point.label)
    expected = {
        **{"weights": "trained"},
        **{
            "method": "Toy",
            "variant": "a",
            "sampler": "heun",
            "times": "rho7",
            "steps": 10,
            "budget": 20,
        },
        **{
            "nfe": 19,
            "nfe_min": 19,
            "nfe_max": 19,
            "training_images": 100_000,
            "training_flops": 3.2e12,
        },
        **{
            "training_seconds": 31.5,
            "parameters": 103_425,
            "device": "cpu",
            "train_seed": 0,
            "sample_seed": 0,
        },
        **{"count": 20, "batch": 8, "state": "done", "cause": "", "key": key(point.sample)},
        **{
            "train_key": key(point.sample.train),
            "commit": ("c0ffeec0ffee",),
            "dirty": False,
            "host": "here",
        },
        "versions": {"toy": 3, "heun": 2, "digits": "1", "fd": 2, "is": 2, "likelihood": 1},
    }
    assert {name: found[name] for name in expected} == expected
    assert found["sampling_gflops_per_image"] == pytest.approx(19 * 2e6 / 1e9)
    assert found["clipped_fraction"] == pytest.approx(0.01)
    for column, score in zip((FD, IS), point.scores, strict=True):
        assert found[column] == store.record(*place(score))["value"]


def test_held_out_losses_are_those_of_a_rows_model_at_each_time(small):
    suite, store = small
    results = results_of(suite, store)
    rows = results.rows
    assert [name for name in rows if name.startswith("heldout_loss@")] == [
        f"heldout_loss@t={t}" for t in (0.25, 0.5, 1)
    ]
    for _, found in rows.iterrows():
        assert found["heldout_loss@t=0.25"] == found["train_seed"] + 0.5
        assert found["heldout_loss@t=1"] == found["train_seed"] + 2
        assert found["heldout_loss_note"] == ""
        file = next(
            item for item in found["records"].split("; ") if item.startswith("heldout_loss=")
        ).partition("=")[2]
        assert (store.root / file).exists()
    assert not [
        name for name in results_of(replace(suite, inspections={}), store).rows if "heldout" in name
    ]


def test_seconds_are_those_of_warm_batches_and_blank_with_a_note_where_none_is(small, tmp_path):
    suite, store = small
    point = suite.points[0]
    warm = row(results_of(suite, store).rows, point.label)["sampling_seconds_per_image"]
    assert warm == pytest.approx(0.002 * cost_of(point) / 10)
    stage, name, _ = place(point.sample)
    for index in (1, 2):
        unit = UnitId(stage, name, part_name(index))
        store.finish(
            unit, {**store.record(*unit), "warm": False, "seconds": 0.5 * 8 * cost_of(point) / 10}
        )
    results = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    cold = row(rows, point.label)
    assert math.isnan(cold["sampling_seconds_per_image"])
    assert cold["sampling_seconds_per_image_note"] == "no batch was warm"
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert f"Time is blank for 1 of {len(rows)} rows: none of their batches was warm." in text
    group = results.board.query("train == 'good' and budget == 5").iloc[0]
    assert group["sampling_seconds_per_image_note"] == "no batch was warm in 1 of 4 points"


def test_batches_beyond_the_count_are_not_counted(small):
    suite, store = small
    stage, name, _ = place(suite.points[0].sample)
    wild = {
        "images": 8,
        "nfe": 1e6,
        "seconds": 9e9,
        "warm": True,
        "flops_per_row": 1.0,
        "clipped": 1.0,
    }
    store.finish(UnitId(stage, name, part_name(3)), {**wild, "provenance": PROVENANCE})
    assert row(results_of(suite, store).rows, suite.points[0].label)["nfe"] == cost_of(
        suite.points[0]
    )


def test_adaptive_samplers_stand_at_the_mean_nfe_that_they_measured_with_its_range(small):
    suite, store = small
    found = results_of(suite, store).rows.query("sampler == 'adaptive'").iloc[0]
    assert (found["nfe"], found["nfe_min"], found["nfe_max"]) == (33, 32, 34)
    assert found["adaptive"]
    assert pd.isna(found["steps"])
    assert found["tolerance"] == 0.01


def test_bits_per_dim_is_the_mean_over_images_of_every_batch(small):
    suite, store = small
    point = suite.points[0]
    offsets = [0.0, 0.01, 0.02, 0.03, 0.0, 0.01]  # batches of 4 and 2 images
    found = row(results_of(suite, store).rows, point.label)
    assert found["bits_per_dim"] == pytest.approx(2 + 0.5 * 1.001 + np.mean(offsets), abs=1e-12)
    assert found["bits_per_dim_image_error"] == pytest.approx(
        np.std(offsets, ddof=1) / 6**0.5, rel=1e-9
    )
    assert found["bits_per_dim_note"] == "exact"


def test_bits_per_dim_is_blank_with_a_reason_where_the_method_has_none_or_a_batch_is_missing(small):
    suite, store = small
    mute = results_of(suite, store).rows.query("train == 'mute'").iloc[0]
    assert math.isnan(mute["bits_per_dim"])
    assert mute["bits_per_dim_note"] == "Langevin dynamics has none"
    point = suite.points[0]
    store.discard(UnitId("likelihood", place(point.likelihood)[1], "00001"))
    found = row(results_of(suite, store).rows, point.label)
    assert math.isnan(found["bits_per_dim"])
    assert found["bits_per_dim_note"] == "not finished"
    assert found["state"] == "waiting"
    assert found["cause"] == "waits for likelihood (1 of 2 done)"


def test_a_failed_batch_makes_a_failed_row_with_cause_and_log_and_its_siblings_stay_done(small):
    suite, store = small
    point = suite.points[0]
    unit = UnitId("samples", place(point.sample)[1], "00001")
    store.discard(unit)
    fail(store, unit, "DivergedError: 3 of 8 images hold NaN")
    results = results_of(suite, store)
    rows = results.rows
    found = row(rows, point.label)
    assert found["state"] == "failed"
    assert found["cause"] == "samples 00001 failed: DivergedError: 3 of 8 images hold NaN"
    assert found["log"] == "/logs/1.out"
    assert (rows["state"] == "done").sum() == len(rows) - 1


def test_points_of_a_failed_training_fail_with_its_cause_and_others_say_what_they_wait_for(
    tmp_path,
):
    suite, store = suite_of(SMALL, tmp_path), Store(tmp_path / "store")
    fail(store, UnitId(*place(suite.train["mute"][0])), "out of memory")
    results = results_of(suite, store)
    rows = results.rows
    assert set(rows.query("train == 'mute'")["cause"]) == {"training failed: out of memory"}
    assert set(rows.query("train == 'mute'")["state"]) == {"failed"}
    assert set(rows.query("train == 'good'")["cause"]) == {"waits for training"}


def test_images_made_elsewhere_are_a_row_without_a_sampler(tmp_path):
    np.savez(tmp_path / "mine.npz", images=load_images("digits").test[:20])
    entries = SMALL.replace(
        "train:\n", f"train:\n  mine: {{samples_from: {tmp_path / 'mine.npz'}}}\n", 1
    )
    suite = suite_of(entries + "  - {train: mine}\n", tmp_path)
    store = Store(tmp_path / "store")
    complete(store, suite)
    results = write(suite, store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    found = rows.query("train == 'mine'").iloc[0]
    assert found["state"] == "done"
    assert found["method"] == "images made elsewhere"
    assert found[FD] == 0.3
    group = results.board.query("train == 'mine'").iloc[0]
    assert pd.isna(group["rank"])
    assert pd.isna(group["budget"])


def test_models_that_have_no_likelihood_are_blank_with_the_reason(tmp_path):
    card, store = CARDS["toy"].likelihood, Store(tmp_path / "store")
    switched = replace(
        card, refuse=lambda params: ["kind a switches at once"] if params.kind == "a" else []
    )
    cards = {**CARDS, "toy": replace(CARDS["toy"], likelihood=switched)}
    (tmp_path / "suite.yaml").write_text(SMALL)
    suite = read_suite(tmp_path / "suite.yaml", cards=cards)
    assert all(point.likelihood is None for point in suite.points)
    assert suite.sweep == {}
    complete(store, suite)
    results = results_of(suite, store, cards)
    rows = results.rows
    good = rows.query("train == 'good'")
    assert set(good["state"]) == {"done"}
    assert good["bits_per_dim"].isna().all()
    assert set(good["bits_per_dim_note"]) == {"kind a switches at once"}
    text = markdown(results)
    assert "– (kind a switches at once)" in text


def test_the_table_names_the_file_of_each_number_and_says_what_names_no_commit(small, tmp_path):
    suite, store = small
    point = suite.points[0]
    found = row(results_of(suite, store).rows, point.label)
    files = dict(item.rsplit("=", 1) for item in found["records"].split("; "))
    assert set(files) == {FD, IS, "bits_per_dim", "heldout_loss"}
    for column in (FD, IS):
        assert json.loads((store.root / files[column]).read_text())["value"] == found[column]
    assert len(list(store.root.glob(files["bits_per_dim"]))) >= 2
    assert found["unproven"] == {}
    score, batch = (
        UnitId(*place(point.scores[0])),
        UnitId("samples", place(point.sample)[1], "00001"),
    )
    store.finish(score, {**store.record(*score), "provenance": None})
    store.finish(batch, {**store.record(*batch), "provenance": {**PROVENANCE, "commit": None}})
    results = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    assert row(rows, point.label)["unproven"] == {"samples": 1, "metrics": 1}
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert (
        f"Without provenance: 1 of {len(rows)} points hold results that name no commit "
        "(samples, metrics)" in text
    )


def test_the_command_that_makes_a_row_again_has_the_options_that_changed_the_suite(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: small\ndataset: digits\nmetrics: []\nsamples: {count: 6, batch: 3}\n"
        "train: {vp: {method: sde}}\n"
        "points: [{train: vp, sampler: euler_maruyama, grid: {nfe: [5, 10]}}]\n"
        "profiles: {more: {samples: {count: 9}}}\n"
    )
    options = ["--profile", "more", "--set", "samples.batch=2"]
    suite = read_suite(path, profile="more", sets=["samples.batch=2"])
    results = read_results(suite, Store(tmp_path / "store"))
    words = shlex.split(command(results, results.rows.iloc[0]))
    assert words[2:] == ["suite.yaml", *options, "--only", words[-1]]
    again = read_suite(path, profile="more", sets=["samples.batch=2"], only=words[-1:])
    assert [point.group for point in again.points] == [suite.points[0].group]
