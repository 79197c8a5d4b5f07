"""The report, from results that are written into a real store as jobs would write them."""

import hashlib
import io
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.card import Card, Effort, LikelihoodCard, SamplerCard, TrainingCard, adaptive
from bench.data.images import load_images
from bench.metrics.registry import METRICS
from bench.plan import METRICS_PART
from bench.report import contents, markdown, page
from bench.report.console import print_leaderboard
from bench.report.figures import summary
from bench.report.figures.inspections import loss_points
from bench.report.figures.summary import Look, learning, likelihood_points, slug, summarise, tile
from bench.report.figures.summary import complete as complete_groups
from bench.report.formats import number, with_deviation, with_error
from bench.report.front import dominated, dominators, pareto
from bench.report.leaderboard import leaderboard
from bench.report.results import read_results
from bench.report.seeds import seed_table
from bench.report.statistics import estimate as estimate_of
from bench.report.table import Reader, identities, uncontrolled
from bench.report.uncertainty import uncertainty
from bench.report.verdicts import judge
from bench.report.writer import write
from bench.spec import ImagesSpec, key, part_name, place
from bench.store import Store, UnitId
from bench.suite.reader import read_suite
from bench.suite.resolved import Suite

FD, IS = "fd(digits-cnn@8)", "is(digits-cnn@8)"
BOUNDS = {FD: METRICS["fd"].bounds, IS: METRICS["is"].bounds}
PROVENANCE = {"commit": "c0ffee" * 6, "dirty": False, "device": "cpu", "host": "here", "threads": 1}


@dataclass(frozen=True, kw_only=True)
class ToyParams:
    quality: float = 1.0
    kind: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Steps:
    steps: int = 10
    snr: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    tolerance: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    tolerance: float = 1e-3


SAMPLERS = {
    "euler": SamplerCard(
        version=1,
        summary="one call a step",
        params=Steps,
        times=("uniform",),
    ),
    "heun": SamplerCard(
        version=2,
        summary="two calls",
        params=Steps,
        effort=Effort(evaluations=lambda p: 2 * p.steps - 1),
        times=("rho7",),
    ),
    "adaptive": SamplerCard(version=1, summary="as it likes", params=Adaptive, effort=adaptive()),
}


def toy(name: str, likelihood: bool = True) -> Card:
    return Card(
        name=name,
        title=name.title(),
        version=3,
        paper="https://example.org",
        adapter="nowhere:Nothing",
        params=ToyParams,
        samplers=SAMPLERS,
        variant=lambda params: params.kind,
        likelihood=LikelihoodCard(version=1, params=Tolerance) if likelihood else None,
        no_likelihood="" if likelihood else "Langevin dynamics has none",
    )


CARDS = {"toy": toy("toy"), "mute": toy("mute", likelihood=False)}

SMALL = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}, is]
samples: {count: 20, batch: 8, seeds: [0, 1]}
likelihood: {images: 6, batch: 4, sweep: {tolerance: [1.0e-1, 1.0e-2]}}
train:
  good: {method: toy, params: {quality: 0.5, kind: a}, seeds: [0, 1]}
  mute: {method: mute, seeds: [0]}
points:
  - {train: [good, mute], sampler: heun, grid: {nfe: [5, 20]}}
  - {train: good, sampler: adaptive, grid: {tolerance: [1.0e-2]}}
"""


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return read_suite(path, cards=CARDS)


def draw(*what: object) -> np.random.Generator:
    """Returns a generator that is a function of its arguments."""
    return np.random.default_rng(list(hashlib.sha256(repr(what).encode()).digest()))


def quality_of(point) -> float:
    return dict(point.sample.train.params).get("quality", 1.0)


def cost_of(point) -> float:
    params = dict(point.sample.params)
    if point.sample.sampler == "adaptive":
        return 20 - 6 * math.log10(params["tolerance"])
    return CARDS["toy"].samplers[point.sample.sampler].effort.evaluations(Steps(**params))


def complete(store: Store, suite: Suite, points=None, *, images: bool = True) -> None:
    """Writes what the jobs of some points would write."""
    for specs in suite.train.values():
        for spec in specs:
            finish_training(store, spec)
    for spec in (spec for specs in suite.sweep.values() for spec in specs):
        finish_likelihood(store, spec)
    for spec in (spec for specs in suite.inspections.values() for spec in specs):
        finish_inspection(store, spec)
    for point in suite.points if points is None else points:
        finish_samples(store, point, images)
        if point.likelihood is not None:
            finish_likelihood(store, point.likelihood)
        finish_scores(store, point)


def finish_training(store: Store, spec) -> None:
    if isinstance(spec, ImagesSpec):
        return
    unit = UnitId(*place(spec))
    quality, noise = dict(spec.params).get("quality", 1.0), draw("curve", key(spec))
    lines = []
    for images in np.linspace(2000, 100_000, 40):
        clean = 0.1 * quality + 0.5 * math.exp(-images / 15_000)
        values = {"loss": clean * noise.uniform(0.8, 1.2), "heldout_loss": clean * 1.05}
        lines.append(json.dumps({"images": int(images), **values}))
    record = {
        "images": 100_000,
        "steps": 1000,
        "flops": 3.2e12,
        "parameters": 103_425,
        "seconds": 31.5,
    }
    store.finish(unit, {**record, "provenance": PROVENANCE})
    (store.folder("train", unit.key) / "log.jsonl").write_text("\n".join(lines) + '\n{"images": 1')


def finish_samples(store: Store, point, images: bool) -> None:
    if isinstance(point.sample, ImagesSpec):
        return
    stage, name, _ = place(point.sample)
    nfe, real = cost_of(point), load_images("digits").train
    for index in range(math.ceil(point.count / point.sample.batch)):
        chosen = real[(np.arange(point.sample.batch) + index * point.sample.batch) % len(real)]
        shake = (
            draw("pixels", point.sample.seed, index).normal(size=chosen.shape)
            * 20
            * quality_of(point)
            / nfe**0.5
        )
        content = io.BytesIO()
        np.savez(content, images=np.clip(np.round(chosen + shake), 0, 16).astype(np.uint8))
        record = {
            "images": point.sample.batch,
            "nfe": nfe + (index if point.sample.sampler == "adaptive" else 0),
            "seconds": (0.5 if index == 0 else 0.002) * point.sample.batch * nfe / 10,
            "warm": index > 0,
            "flops_per_row": 2e6,
            "clipped": 0.01,
            "provenance": PROVENANCE,
        }
        store.finish(
            UnitId(stage, name, part_name(index)),
            record,
            {".npz": content.getvalue()} if images else None,
        )


def finish_likelihood(store: Store, spec) -> None:
    stage, name, _ = place(spec)
    tolerance = dict(spec.params).get("tolerance", 1e-3)
    for index in range(math.ceil(spec.images / spec.batch)):
        count = min(spec.batch, spec.images - index * spec.batch)
        values = (
            2
            + dict(spec.train.params).get("quality", 1.0) * (1 + tolerance)
            + np.arange(count) * 0.01
        )
        record = {
            "values": {"bits_per_dim": values.tolist()},
            "identity": {"eps": 1e-5, "tolerance": tolerance},
        }
        record |= {"nfe": 14 - 20 * math.log10(tolerance), "seconds": 1.0, "provenance": PROVENANCE}
        store.finish(UnitId(stage, name, part_name(index)), record)


def finish_inspection(store: Store, spec, **changes) -> None:
    """Writes losses that grow with the level, by 1 for each training seed."""
    times, pixels = [0.25, 0.5, 1.0], np.linspace(0, 1, 2 * 3 * 64).reshape(2, 3, 1, 8, 8)
    record = {
        "times": times,
        "noise_levels": [0.1, 1.0, 10.0],
        "losses": [spec.train.seed + 2 * t for t in times],
    }
    record |= {"errors": [0.1] * 3, "identity": {"weighting": "std"}, "strips": ["path"]}
    record |= {
        "curves": [{"title": "levels", "x": "index", "y": "noise"}],
        "seconds": 1.0,
        "provenance": PROVENANCE,
    }
    content = io.BytesIO()
    curve = np.arange(4.0)
    np.savez(
        content, **{"strip/0": pixels.astype(np.float32), "curve/0/x": curve, "curve/0/y": curve}
    )
    store.finish(UnitId(*place(spec)), {**record, **changes}, {".npz": content.getvalue()})


def finish_scores(store: Store, point, *, weights: str = "aa" * 32) -> None:
    for score in point.scores:
        if isinstance(point.sample, ImagesSpec):
            value = 0.3
        else:
            shake = draw(score.metric, key(point.sample)).uniform(0.93, 1.07)
            floor = 0.05 * quality_of(point)
            value = (floor + 8 * quality_of(point) * cost_of(point) ** -1.5) * shake
            value = value if score.metric == "fd" else 9.5 - 2 * value
        identity = {
            "metric": score.metric,
            "count": score.count,
            "weights": weights,
            "reference": {"n": 1437},
        }
        record = {"value": value, "identity": identity, "provenance": PROVENANCE}
        if isinstance(point.sample, ImagesSpec):
            record["source"] = {"drawn": point.count, "images": point.count, "copies": 0}
        store.finish(UnitId(*place(score)), record)


def fail(store: Store, unit: UnitId, cause: str) -> None:
    values = {"run": "r", "host": "here", "pid": 1, "log": "/logs/1.out"}
    store.note_attempt(unit, attempt="a", state="failed", cause=cause, **values)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Path]:
    folder = tmp_path_factory.mktemp("template")
    suite = suite_of(SMALL, folder)
    complete(Store(folder / "store"), suite)
    return suite, folder / "store"


@pytest.fixture
def small(template: tuple[Suite, Path], tmp_path: Path) -> tuple[Suite, Store]:
    """A finished suite and a store of its own to spoil."""
    suite, store = template
    shutil.copytree(store, tmp_path / "store")
    return suite, Store(tmp_path / "store")


def table(suite: Suite, store: Store) -> pd.DataFrame:
    return read_results(suite, store, methods=CARDS)


def row(rows: pd.DataFrame, label: str) -> pd.Series:
    return rows[rows["label"] == label].iloc[0]


# The tidy table


def test_every_point_is_a_row_with_what_was_stored_for_it(small):
    suite, store = small
    rows = table(suite, store)
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
            "commit": "c0ffeec0ffee",
            "dirty": False,
            "host": "here",
        },
        "versions": "toy 3, heun 2, digits 1, fd 2, is 2, likelihood 1",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["sampling_gflops_per_image"] == pytest.approx(19 * 2e6 / 1e9)
    assert found["clipped_fraction"] == pytest.approx(0.01)
    for column, score in zip((FD, IS), point.scores, strict=True):
        assert found[column] == store.record(*place(score))["value"]


def test_held_out_losses_are_those_of_a_rows_model_at_each_time(small):
    suite, store = small
    rows = table(suite, store)
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
        name
        for name in read_results(replace(suite, inspections={}), store, methods=CARDS)
        if "heldout" in name
    ]


def test_a_failed_inspection_leaves_its_rows_done_with_blanks_and_a_cause(small):
    suite, store = small
    unit = UnitId(*place(suite.inspections["mute"][0]))
    store.discard(unit)
    fail(store, unit, "ValueError: of another shape")
    rows = table(suite, store)
    mute = rows[rows["train"] == "mute"]
    assert set(mute["state"]) == {"done"}
    assert mute["heldout_loss@t=0.5"].isna().all()
    assert set(mute["heldout_loss_note"]) == {"inspect failed: ValueError: of another shape"}
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert "held-out loss of mute, seed 0: inspect failed: ValueError: of another shape" in text


def test_a_table_of_held_out_losses_has_a_row_a_model_with_its_spread_over_trainings(small):
    suite, store = small
    rows = table(suite, store)
    (part,) = [
        part
        for part in contents.sections(suite, rows, leaderboard(rows))
        if part.title.startswith("Held-out")
    ]
    assert part.headers == ["model", "method", "weighting", "trainings", "t=0.25", "t=0.5", "t=1"]
    good, mute = [[cell.text for cell in line] for line in part.cells]
    assert good == [
        "good",
        "Toy",
        "std",
        "2",
        "1.00 (0.500, 1.50)",
        "1.50 (1.00, 2.00)",
        "2.50 (2.00, 3.00)",
    ]
    assert mute == ["mute", "Mute", "std", "1", "0.500", "1.00", "2.00"]


def test_models_at_unlike_times_have_tables_of_their_own(small):
    suite, store = small
    finish_inspection(store, suite.inspections["mute"][0], times=[0.1, 0.1001, 1.0])
    rows = table(suite, store)
    parts = [
        part
        for part in contents.sections(suite, rows, leaderboard(rows))
        if part.title.startswith("Held-out")
    ]
    assert [part.headers[4:] for part in parts] == [
        ["t=0.25", "t=0.5", "t=1"],
        ["t=0.1", "t=0.1001", "t=1"],
    ]
    assert [part.cells[0][0].text for part in parts] == ["good", "mute"]


def test_held_out_losses_are_drawn_by_noise_level_or_by_time_where_a_model_has_none(small):
    suite, store = small
    finish_inspection(store, suite.inspections["mute"][0], noise_levels=[None] * 3)
    points = loss_points(table(suite, store).attrs["inspections"])
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
    assert set(loss_points(table(suite, store).attrs["inspections"])["train"]) == {"mute"}


def test_seconds_are_those_of_warm_batches_and_blank_with_a_note_where_none_is(small, tmp_path):
    suite, store = small
    point = suite.points[0]
    warm = row(table(suite, store), point.label)["sampling_seconds_per_image"]
    assert warm == pytest.approx(0.002 * cost_of(point) / 10)
    stage, name, _ = place(point.sample)
    for index in (1, 2):
        unit = UnitId(stage, name, part_name(index))
        store.finish(
            unit, {**store.record(*unit), "warm": False, "seconds": 0.5 * 8 * cost_of(point) / 10}
        )
    rows = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    cold = row(rows, point.label)
    assert math.isnan(cold["sampling_seconds_per_image"])
    assert cold["sampling_seconds_per_image_note"] == "no batch was warm"
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert f"Time is blank for 1 of {len(rows)} rows: none of their batches was warm." in text
    group = leaderboard(rows).query("train == 'good' and budget == 5").iloc[0]
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
    assert row(table(suite, store), suite.points[0].label)["nfe"] == cost_of(suite.points[0])


def test_adaptive_samplers_stand_at_the_mean_nfe_that_they_measured_with_its_range(small):
    suite, store = small
    found = table(suite, store).query("sampler == 'adaptive'").iloc[0]
    assert (found["nfe"], found["nfe_min"], found["nfe_max"]) == (33, 32, 34)
    assert found["adaptive"]
    assert pd.isna(found["steps"])
    assert found["tolerance"] == 0.01


def test_bits_per_dim_is_the_mean_over_images_of_every_batch(small):
    suite, store = small
    point = suite.points[0]
    offsets = [0.0, 0.01, 0.02, 0.03, 0.0, 0.01]  # batches of 4 and 2 images
    found = row(table(suite, store), point.label)
    assert found["bits_per_dim"] == pytest.approx(2 + 0.5 * 1.001 + np.mean(offsets), abs=1e-12)
    assert found["bits_per_dim_image_error"] == pytest.approx(
        np.std(offsets, ddof=1) / 6**0.5, rel=1e-9
    )
    assert found["bits_per_dim_note"] == "exact"


def test_bits_per_dim_is_blank_with_a_reason_where_the_method_has_none_or_a_batch_is_missing(small):
    suite, store = small
    mute = table(suite, store).query("train == 'mute'").iloc[0]
    assert math.isnan(mute["bits_per_dim"])
    assert mute["bits_per_dim_note"] == "Langevin dynamics has none"
    point = suite.points[0]
    store.discard(UnitId("likelihood", place(point.likelihood)[1], "00001"))
    found = row(table(suite, store), point.label)
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
    rows = table(suite, store)
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
    rows = table(suite, store)
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
    rows = write(suite, store, tmp_path / "report", methods=CARDS)
    found = rows.query("train == 'mine'").iloc[0]
    assert found["state"] == "done"
    assert found["method"] == "images made elsewhere"
    assert found[FD] == 0.3
    group = leaderboard(rows).query("train == 'mine'").iloc[0]
    assert pd.isna(group["rank"])
    assert pd.isna(group["budget"])


# The leaderboard


def test_a_group_has_the_mean_and_the_sample_standard_deviation_of_its_seeds(small):
    suite, store = small
    rows = table(suite, store)
    part = rows[(rows["train"] == "good") & (rows["budget"] == 20)]
    group = leaderboard(rows).query("train == 'good' and budget == 20").iloc[0]
    values = part[FD].to_numpy()
    assert (group["train_seeds"], group["sample_seeds"], group["points"]) == (2, 2, 4)
    assert group[FD] == pytest.approx(values.mean())
    assert group[f"{FD} sd"] == pytest.approx(np.std(values, ddof=1))
    of_trainings = [part[part["train_seed"] == seed][FD].mean() for seed in (0, 1)]
    assert group[f"{FD} sd over trainings"] == pytest.approx(np.std(of_trainings, ddof=1))


def test_spreads_are_blank_where_there_is_one_value(small):
    suite, store = small
    group = leaderboard(table(suite, store)).query("train == 'mute'").iloc[0]
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
    rows = table(suite, store)
    rows = rows.drop(
        rows[(rows["train_seed"] == 1) & (rows["sample_seed"] == 1)].index
    )  # three rows, two models
    group = leaderboard(rows).query("train == 'good' and budget == 5").iloc[0]
    one = rows[(rows["train"] == "good") & (rows["train_seed"] == 0)]["bits_per_dim"].iloc[0]
    assert group["bits_per_dim"] == pytest.approx((one + 5) / 2)
    assert group["bits_per_dim sd"] == pytest.approx(np.std([one, 5], ddof=1))


def test_bits_per_dim_is_printed_with_its_error_over_images_and_over_trainings_apart(small):
    suite, store = small
    rows = table(suite, store)
    error = np.std([0.0, 0.01, 0.02, 0.03, 0.0, 0.01], ddof=1) / 6**0.5
    text = f"2.5122 ± {error:.4f} (over images)"
    assert leaderboard(rows).query("train == 'good'")[
        "bits_per_dim_image_error"
    ].tolist() == pytest.approx([error] * 3)
    lines = markdown.markdown(suite, rows, leaderboard(rows)).splitlines()
    ranked, models = (
        next(line for line in lines if start in line) for start in ("| good  |", "| good  | Toy")
    )
    assert text in ranked
    assert f"{text}; over trainings 2.51 (2.51, 2.51)" in models
    assert "standard error of the mean over the images scored" in "\n".join(lines)


def test_bits_per_dim_of_a_bound_are_marked_wherever_they_are_printed(small):
    suite, store = small
    bound = replace(CARDS["toy"], likelihood=replace(CARDS["toy"].likelihood, kind="bound"))
    stream = io.StringIO()
    for methods, marks in ((CARDS, 0), ({**CARDS, "toy": bound}, 1)):
        rows = read_results(suite, store, methods=methods)
        print_leaderboard(rows, Console(file=stream, width=300))
        lines = [
            *markdown.markdown(suite, rows, leaderboard(rows)).splitlines(),
            *stream.getvalue().splitlines(),
        ]
        known = [line for line in lines if "2.512 " in line or "2.5122 ±" in line]
        assert len(known) >= 5, "three groups and a model, and the groups in the terminal"
        assert all(line.count("(bound)") == marks for line in known)
        assert not any("(bound)" in line for line in lines if line not in known)
        stream.seek(stream.truncate(0))


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
    rows = read_results(suite, store, methods=cards)
    good = rows.query("train == 'good'")
    assert set(good["state"]) == {"done"}
    assert good["bits_per_dim"].isna().all()
    assert set(good["bits_per_dim_note"]) == {"kind a switches at once"}
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert "– (kind a switches at once)" in text


def test_training_cost_of_an_unbalanced_group_counts_each_model_once(small):
    suite, store = small
    dear = UnitId(*place(suite.train["good"][1]))
    changed = {"images": 300_000, "flops": 9.2e12, "seconds": 91.5}
    store.finish(dear, {**store.record(*dear), **changed})
    rows = table(suite, store)
    rows = rows.drop(
        rows[(rows["train_seed"] == 1) & (rows["sample_seed"] == 1)].index
    )  # three rows, two models
    group = leaderboard(rows).query("train == 'good' and budget == 5").iloc[0]
    assert group["points"] == 3
    assert (group["training_images"], group["training_seconds"]) == (200_000, 61.5)
    assert group["training_flops"] == pytest.approx(6.2e12)


def test_the_table_names_the_file_of_each_number_and_says_what_names_no_commit(small, tmp_path):
    suite, store = small
    point = suite.points[0]
    found = row(table(suite, store), point.label)
    files = dict(item.rsplit("=", 1) for item in found["records"].split("; "))
    assert set(files) == {FD, IS, "bits_per_dim", "heldout_loss"}
    for column in (FD, IS):
        assert json.loads((store.root / files[column]).read_text())["value"] == found[column]
    assert len(list(store.root.glob(files["bits_per_dim"]))) >= 2
    assert found["unproven"] == ""
    score, batch = (
        UnitId(*place(point.scores[0])),
        UnitId("samples", place(point.sample)[1], "00001"),
    )
    store.finish(score, {**store.record(*score), "provenance": None})
    store.finish(batch, {**store.record(*batch), "provenance": {**PROVENANCE, "commit": None}})
    rows = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    assert row(rows, point.label)["unproven"] == "1 of samples, 1 of metrics"
    text = (tmp_path / "report" / "leaderboard.md").read_text()
    assert (
        f"Without provenance: 1 of {len(rows)} rows hold results that name no commit (samples, metrics)"
        in text
    )


def grow(store: Store, suite: Suite, *, parameters: float = 1.0, flops: float = 1.0) -> None:
    """Makes the network of model ``mute`` larger, as its records tell it."""
    unit = UnitId(*place(suite.train["mute"][0]))
    record = store.record(*unit)
    store.finish(unit, {**record, "parameters": round(record["parameters"] * parameters)})
    for point in suite.points:
        if point.train == "mute":
            for index in range(3):
                unit = UnitId("samples", place(point.sample)[1], part_name(index))
                record = store.record(*unit)
                store.finish(unit, {**record, "flops_per_row": record["flops_per_row"] * flops})


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({"parameters": 1.02}, "parameters differ by 2.0% (good: 103,425, mute: 105,494)"),
        ({"flops": 0.9}, "forward GFLOPs a row differ by 11.1% (mute: 0.0018, good: 0.002)"),
        ({"parameters": 0.0}, "parameters differ (mute: 0, good: 103,425)"),
        ({"parameters": 1.009, "flops": 1.009}, ""),
    ],
    ids=["parameters", "FLOPs", "no network", "within 1 %"],
)
def test_page_markdown_and_terminal_say_when_a_controlled_comparison_is_none(
    small, tmp_path, factors, said
):
    suite, store = small
    grow(store, suite, **factors)
    for controlled in (True, False):
        asked = replace(suite, controlled=controlled, figures="none")
        rows = write(asked, store, tmp_path / "report", methods=CARDS)
        output = io.StringIO()
        print_leaderboard(rows, Console(file=output, width=40))
        texts = [
            (tmp_path / "report" / name).read_text() for name in ("leaderboard.md", "report.html")
        ]
        expected = f"not a controlled comparison: {said}" if said and controlled else ""
        assert uncontrolled(rows) == expected
        for text in (*texts, output.getvalue()):
            assert (expected in text) if expected else ("not a controlled comparison" not in text)


def floor_of(store: Store, suite: Suite, mean: float, std: float) -> None:
    for point in suite.points:
        unit = UnitId(*place(point.scores[0]))
        floor = {"mean": mean, "std": std, "draws": 20, "split": "test"}
        store.finish(unit, {**store.record(*unit), "floor": floor})


@pytest.mark.parametrize("std", [0.019, 0.19, math.nan])
def test_what_real_images_score_stands_below_each_table_and_in_the_pictures_of_its_metric(
    small, tmp_path, std
):
    suite, store = small
    rows = write(replace(suite, figures="none"), store, tmp_path / "without", methods=CARDS)
    assert "real images against" not in (tmp_path / "without" / "leaderboard.md").read_text()
    floor_of(store, suite, 0.039, std)
    rows = read_results(suite, store, methods=CARDS)
    text = markdown.markdown(suite, rows, leaderboard(rows))
    shown = {0.019: "0.039 ± 0.019", 0.19: "0.04 ± 0.19"}.get(std, "0.0390")
    line = f"{FD}: real images against themselves at n = 20: {shown}"
    line += "" if math.isnan(std) else " (standard deviation over sets)"
    assert text.splitlines().count(f"{line}.") == 3  # two budgets and the adaptive one
    drawn = {
        picture.name: picture
        for picture in summary.write(suite, store, rows, tmp_path / "f", methods=CARDS)
    }
    assert not any(picture.fault for picture in drawn.values())
    assert "held-out real images" in drawn[f"{slug(FD)}-vs-compute"].caption
    assert "held-out real images" not in drawn[f"{slug(IS)}-vs-compute"].caption


def test_ranks_run_within_a_budget_and_adaptive_samplers_have_none(small):
    suite, store = small
    board = leaderboard(table(suite, store))
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
    board = leaderboard(table(suite, store)).query("budget == 5")
    assert board.loc[board["rank"] == 1, IS].item() == board[IS].max()


def test_groups_given_in_steps_stand_at_the_nfe_that_they_measured(tmp_path):
    suite = suite_of(SMALL.replace("grid: {nfe: [5, 20]}", "grid: {steps: [3, 10]}"), tmp_path)
    store = Store(tmp_path / "store")
    complete(store, suite)
    board = leaderboard(table(suite, store)).query("sampler == 'heun'")
    assert sorted(set(board["budget"])) == [5, 19]
    assert board["rank"].notna().all()


def test_a_group_is_not_ranked_on_the_seeds_that_survived(small):
    suite, store = small
    point = next(p for p in suite.points if p.train == "good" and p.budget == 5)
    unit = UnitId(*place(point.scores[0]))
    store.discard(unit)
    fail(store, unit._replace(part=METRICS_PART), "out of disk")
    board = leaderboard(table(suite, store))
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
    board = leaderboard(table(suite, store)).query("budget == 5")
    parts = board[board["train"] == "good"]
    assert list(parts["points"]) == [2, 2]
    assert len({identities(text)[FD] for text in parts["identity"]}) == 2
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
    group = leaderboard(table(suite, store)).query("train == 'good' and budget == 5").iloc[0]
    assert math.isnan(group["sampling_seconds_per_image"])
    assert group["device"] == "fast + cpu"


# Files


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_equal_results_give_equal_bytes_and_no_leftovers(small, tmp_path):
    suite, store = small
    for name in ("one", "two"):
        write(suite, store, tmp_path / name, methods=CARDS)
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    assert one == two
    tables = {
        "results.csv",
        "leaderboard.csv",
        "uncertainty.csv",
        "leaderboard.md",
        "identities.json",
        "report.html",
    }
    assert {str(path) for path in one if len(path.parts) == 1} == tables
    drawn = {path.stem for path in one if path.parts[0] == "figures"}
    expected = {
        "fd-digits-cnn-8-vs-compute",
        "is-digits-cnn-8-vs-compute",
        "bits-per-dim-vs-nfe",
        "training",
    }
    expected |= {"samples-good", "samples-mute", "budgets-good", "budgets-mute"}
    assert drawn == expected | {
        "heldout-loss",
        "strip-good-path",
        "strip-mute-path",
        "curve-levels",
    }
    assert {path.suffix for path in one if path.parts[0] == "figures"} == {".png", ".svg"}


def test_csv_reads_back_with_whole_numbers_whole(small, tmp_path):
    suite, store = small
    rows = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    assert not (tmp_path / "report" / "figures").exists()
    text = (tmp_path / "report" / "results.csv").read_text()
    back = pd.read_csv(tmp_path / "report" / "results.csv")
    assert list(back.columns) == list(rows.columns)
    assert np.array_equal(back[FD], rows[FD])
    assert ",103425," in text
    known = json.loads((tmp_path / "report" / "identities.json").read_text())
    assert all(short in known for text in back["identity"] for short in identities(text).values())


def test_a_report_of_nothing_and_one_of_failures_and_nan_are_still_written(tmp_path):
    suite, store = suite_of(SMALL, tmp_path), Store(tmp_path / "store")
    rows = write(suite, store, tmp_path / "report", methods=CARDS)
    assert set(rows["state"]) == {"waiting"}
    assert not list((tmp_path / "report").glob("figures/*"))
    mute = [point for point in suite.points if point.train == "mute" and point.budget == 5]
    complete(store, suite, [*suite.points[:3], *mute], images=False)
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.finish(unit, {**store.record(*unit), "value": math.nan})
    fail(
        store,
        UnitId("samples", place(suite.points[3].sample)[1], "00000"),
        "<script>alert(1)</script>",
    )
    write(suite, store, tmp_path / "report", methods=CARDS)
    assert (tmp_path / "report/figures/fd-digits-cnn-8-vs-compute.png").exists()
    assert not list((tmp_path / "report").glob("figures/samples-*"))  # their images are gone
    text = (tmp_path / "report/report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_picture_that_cannot_be_drawn_is_named_and_costs_no_other_file(
    small, tmp_path, monkeypatch, capsys
):
    suite, store = small
    folder = tmp_path / "report"
    write(suite, store, folder, methods=CARDS)
    before = contents(folder)

    def broken(*arguments):
        assert (folder / "leaderboard.md").exists()  # the tables come first
        raise TypeError("no <such> thing")

    monkeypatch.setattr(summary, "_curves", broken)
    monkeypatch.setattr(summary, "_strips", broken)
    for path in folder.iterdir():
        path.unlink() if path.is_file() else None
    write(suite, store, folder, methods=CARDS)
    after = contents(folder)
    lost = {path.stem for path in before} - {path.stem for path in after}
    assert lost == {"training", "budgets-good", "budgets-mute"}
    assert all(after[path] == before[path] for path in after if path.name != "report.html")
    text = after[Path("report.html")].decode()
    assert "Training curves (training): TypeError: no &lt;such&gt; thing" in text
    assert "samples of good (samples-of-good): TypeError" in text
    assert 'src="figures/training.png"' not in text
    error = capsys.readouterr().err
    assert "report: training could not be drawn: TypeError: no <such> thing" in error
    assert error.count("Traceback (most recent call last)") == 3


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
    curve = summary._curve(store, Reader(store, METRICS), spec)
    assert curve["images"].tolist() == [10, 20, 40]
    assert curve["loss"].fillna(-1).tolist() == [0.5, -1, -1]
    assert curve["heldout_loss"].fillna(-1).tolist() == [-1, 0.25, -1]
    write(suite, store, tmp_path / "report", methods=CARDS)
    assert (tmp_path / "report" / "figures" / "training.png").exists()


def test_without_warm_batches_quality_is_drawn_against_evaluations_alone(small, tmp_path):
    suite, store = small
    rows = table(suite, store)
    rows["sampling_seconds_per_image"] = math.nan
    drawn = {
        picture.name: picture
        for picture in summary.write(suite, store, rows, tmp_path / "f", methods=CARDS)
    }
    assert drawn[f"{slug(FD)}-vs-compute"].fault == ""
    assert not any(picture.fault for picture in drawn.values())


def test_pictures_show_complete_groups_alone(small):
    suite, store = small
    point = next(p for p in suite.points if p.train == "good" and p.budget == 5)
    store.discard(UnitId(*place(point.scores[0])))
    rows = table(suite, store)
    look = Look(rows, list(suite.train))
    shown = summarise(rows, look, FD, BOUNDS[FD])
    assert sorted(shown.query("train == 'good'")["nfe"].round()) == [19, 33]
    assert len(summarise(rows, look, IS, BOUNDS[IS])) == 5  # the other metric lacks nothing


def test_pictures_never_mix_identities_of_a_metric(small, tmp_path):
    suite, store = small
    for point in suite.points:
        if point.train == "good" and point.budget == 20 and point.sample.seed == 1:
            finish_scores(store, point, weights="bb" * 32)
    rows = write(suite, store, tmp_path / "report", methods=CARDS)
    summary = summarise(rows, Look(rows, list(suite.train)), FD, BOUNDS[FD])
    at_20 = summary[(summary["train"] == "good") & (summary["nfe"] == 19)]
    for _, found in at_20.iterrows():
        mine = rows[
            rows["identity"].str.contains(f"={found['identity']}") & (rows["train"] == "good")
        ]
        assert found["mean"] == pytest.approx(mine.loc[mine["nfe"] == 19, FD].mean())
    assert list(at_20["seeds"]) == [2, 2]
    first, second = summary["identity"].unique()
    assert (summary["identity"] == first).sum() == 5
    drawn = {path.stem for path in (tmp_path / "report" / "figures").glob("fd-*-vs-compute.png")}
    assert drawn == {f"{slug(FD)}-{short}-vs-compute" for short in (first, second)}
    assert f"Identity {first} alone, one of 2" in (tmp_path / "report" / "report.html").read_text()


def test_a_group_that_lacks_a_seed_is_complete_for_no_identity(small):
    suite, store = small
    points = [p for p in suite.points if p.train == "good" and p.budget == 20]
    finish_scores(store, points[0], weights="bb" * 32)
    store.discard(UnitId(*place(points[1].scores[0])))
    rows = table(suite, store)
    assert not list(complete_groups(rows[rows["group"] == points[0].group], FD))


def test_pictures_that_are_no_longer_made_disappear(small, tmp_path):
    suite, store = small
    stale = tmp_path / "report" / "figures" / "samples-gone.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    write(suite, store, tmp_path / "report", methods=CARDS)
    assert not stale.exists()
    assert (stale.parent / "samples-good.png").exists()


def test_markdown_tables_are_aligned_and_the_best_of_a_budget_is_bold_once(small):
    suite, store = small
    rows = table(suite, store)
    text = markdown.markdown(suite, rows, leaderboard(rows))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert (
        len(blocks) == 6
    )  # two budgets, the adaptive one, dominated rows, the models, their held-out losses
    for lines in blocks:
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
    for lines in blocks[:2]:
        assert sum(line.count("**") for line in lines) == 4  # one of each metric
    assert "NLL of dequantised data (bits/dim)" in blocks[0][0]
    assert "time (ms/image)" in blocks[0][0]
    assert "compute (GFLOPs/image)" in blocks[0][0]
    assert "Langevin dynamics has none" in blocks[4][-1]


def test_the_report_says_when_a_metric_has_too_few_images(small):
    suite, store = small
    rows = table(suite, store)
    assert "Too few images" not in markdown.markdown(suite, rows, leaderboard(rows))
    score = suite.points[0].scores[0]
    record = store.record(*place(score))
    store.finish(
        UnitId(*place(score)), {**record, "identity": {**record["identity"], "least_count": 240}}
    )
    rows = table(suite, store)
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert f"Too few images: {FD} on 20 is a smoke test, not evidence; it needs 240." in text


def test_every_picture_that_the_page_links_exists(small, tmp_path):
    suite, store = small
    write(suite, store, tmp_path / "report", methods=CARDS)
    text = (tmp_path / "report" / "report.html").read_text()
    links = [part.split('"')[0] for part in text.split('src="')[1:]]
    assert len(links) == 12
    assert all((tmp_path / "report" / link).exists() for link in links)


def test_the_terminal_table_is_plain_and_unwrapped_where_the_output_is_no_terminal(small):
    suite, store = small
    output = io.StringIO()
    print_leaderboard(table(suite, store), Console(file=output, width=40))
    lines = output.getvalue().splitlines()
    assert "\x1b" not in output.getvalue()
    assert len(lines) == 1 + 5
    assert lines[0].split()[:3] == ["budget", "rank", "group"]
    assert all("done" in line for line in lines[1:])


def test_the_terminal_says_what_failed_and_where_the_pictures_are(small, tmp_path):
    suite, store = small
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.discard(unit)
    fail(store, unit._replace(part=METRICS_PART), "[red] herring")
    rows = write(suite, store, tmp_path / "report", methods=CARDS)
    output = io.StringIO()
    print_leaderboard(
        rows,
        Console(file=output, width=200, force_terminal=True, color_system=None),
        tmp_path / "report",
    )
    assert "1 group: metrics failed: [red] herring (log: /logs/1.out)" in output.getvalue()
    assert str(tmp_path / "report" / "figures") in output.getvalue()


def test_a_cause_with_markup_and_control_characters_is_text_everywhere(small, tmp_path):
    suite, store = replace(small[0], figures="none"), small[1]
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.discard(unit)
    fail(
        store,
        unit._replace(part=METRICS_PART),
        "<script>alert(1)</script> \x1b[2J | [a](b) \udcff\nnext",
    )
    rows = write(suite, store, tmp_path / "report", methods=CARDS)
    markdown, html, csv = (
        (tmp_path / "report" / name).read_text()
        for name in ("leaderboard.md", "report.html", "results.csv")
    )
    assert "&lt;script>alert(1)&lt;/script> \\x1b[2J \\| [a]\\(b) \\udcff\\nnext" in markdown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in markdown + html
    assert "\x1b" not in markdown + html
    assert "\\udcff" in csv
    for terminal in (True, False):
        output = io.StringIO()
        print_leaderboard(
            rows, Console(file=output, width=400, force_terminal=terminal, color_system=None)
        )
        assert "alert(1)" in output.getvalue()
        assert "\x1b[2J" not in output.getvalue()


# Pieces


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


def test_rows_that_another_beats_for_no_more_cost_are_named(small):
    suite, store = small
    rows = table(suite, store)
    board = leaderboard(rows)
    best = board.loc[board[FD].idxmin()]
    found = dominated(board)
    assert best["group"] not in set(found["group"])
    for _, row_of in found.iterrows():
        beaten, by = (board[board["group"] == row_of[name]].iloc[0] for name in ("group", "NFE"))
        assert by["nfe"] <= beaten["nfe"]
        assert by[FD] < beaten[FD]
    text = markdown.markdown(suite, rows, board)
    assert "## Dominated" in text
    assert f"beats by the mean of {FD}" in text


def test_bits_per_dim_is_drawn_at_every_tolerance_of_the_sweep_and_of_the_table(small):
    suite, store = small
    points = likelihood_points(suite, Reader(store, METRICS), CARDS)
    assert set(points["train"]) == {"good"}
    assert sorted(set(points["tolerance"])) == [1e-3, 1e-2, 1e-1]
    assert len(points) == 2 * 3  # two training seeds
    assert points.query("tolerance == 0.01")["nfe"].tolist() == pytest.approx([54, 54])


def test_bits_per_dim_of_a_setting_that_one_training_lacks_is_not_drawn(small):
    suite, store = small
    spec = next(spec for spec in suite.sweep["good"] if dict(spec.params)["tolerance"] == 0.1)
    store.discard(UnitId("likelihood", place(spec)[1], "00000"))
    points = likelihood_points(suite, Reader(store, METRICS), CARDS)
    assert sorted(points["tolerance"]) == [1e-3, 1e-3, 1e-2, 1e-2]


def test_estimate_shows_two_digits_of_the_error():
    assert with_error(2.15812, 0.0302) == "2.158 ± 0.030"
    assert with_error(2.15812, math.nan) == with_error(2.15812, 0.0) == "2.16"
    assert with_error(0.387, 0.19) == "0.39 ± 0.19"
    assert with_error(math.nan, 0.1) == ""


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (12.3456, "12.3"),
        (1234.5, "1,234"),
        (0.0, "0"),
        (math.nan, ""),
        (None, ""),
        (1e-9, "1.00e-09"),
    ],
)
def test_numbers_show_three_significant_digits(value, text):
    assert number(value) == text


def test_spread_shows_as_many_decimals_as_the_mean():
    assert with_deviation(0.1234, 0.00678) == "0.123 ± 0.007"
    assert with_deviation(0.1234, math.nan) == "0.123"
    assert with_deviation(math.nan, math.nan) == ""


def test_file_names_are_made_of_letters_digits_and_dashes():
    assert slug("fd(digits-cnn@8, to test)") == "fd-digits-cnn-8-to-test"


# Intervals and claims

CLAIMS = """
name: claims
dataset: digits
metrics: [fd, {metric: fd, reference: test}]
samples: {count: 32, batch: 32, seeds: [0, 1, 2, 3]}
inspect: null
train:
  good: {method: toy, params: {quality: 0.5}, seeds: [0, 1, 2, 3, 4, 5]}
  twin: {method: toy, params: {kind: a, quality: 0.5}, seeds: [0, 1, 2, 3, 4, 5]}
  poor: {method: mute, seeds: [0, 1, 2, 3, 4, 5]}
  few: {method: mute, params: {kind: a}, seeds: [0, 1, 2]}
points:
  - {train: [good, twin, poor, few], sampler: euler, grid: {nfe: [10]}}
  - {train: good, sampler: heun, grid: {nfe: [10]}}
claims:
  - {metric: fd(digits-cnn@8), smallest_effect: 0.2, pairs: [[good euler, poor], [poor, good euler], [good euler, few]]}
  - {metric: fd(digits-cnn@8), smallest_effect: 5, pairs: [[good euler, twin], [good heun, good euler]]}
"""


def score_as(store: Store, suite: Suite, value) -> None:
    """Finishes every score with what ``value(point, metric's reference)`` says."""
    for point in suite.points:
        for score in point.scores:
            record = store.record(*place(score))
            reference = dict(score.params).get("reference", "train")
            store.finish(UnitId(*place(score)), {**record, "value": value(point, reference)})


def value_of(point, reference: str) -> float:
    """The quality, 0.3 of a training, 0.1 of a seed and 0.05 of each sample set; a sampler is worth
    nothing.
    """
    spec = point.sample
    effects = 0.3 * draw("a", key(spec.train)).normal() + 0.1 * draw("b", spec.seed).normal()
    return (
        4 * quality_of(point)
        + effects
        + 0.05 * draw("e", key(spec)).normal()
        + (reference == "test")
    )


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Store]:
    folder = tmp_path_factory.mktemp("claims")
    suite, store = suite_of(CLAIMS, folder), Store(folder / "store")
    complete(store, suite, images=False)
    score_as(store, suite, value_of)
    return suite, store


def test_a_group_has_the_interval_that_its_seeds_tell_and_its_parts_stand_in_a_table_of_their_own(
    claimed,
):
    suite, store = claimed
    rows = table(suite, store)
    values = seed_table(rows[rows["group"] == "good · euler · nfe 10"], FD)
    assert values.shape == (6, 4)
    found = estimate_of(values.to_numpy(), BOUNDS[FD])
    group = leaderboard(rows).query("group == 'good · euler · nfe 10'").iloc[0]
    assert (group[FD], group[f"{FD} low"], group[f"{FD} high"]) == pytest.approx(
        (found.mean, found.low, found.high)
    )
    parts = (
        uncertainty(rows).query(f"group == 'good · euler · nfe 10' and metric == '{FD}'").iloc[0]
    )
    assert (parts["trainings"], parts["sample seeds"], parts["sample sets"]) == (6, 4, 24)
    assert parts["interval over"] == group[f"{FD} interval over"] == "trainings and sample seeds"
    assert parts["sd retraining"] == pytest.approx(found.retraining**0.5)
    assert 0.5 < parts["share of retraining"] < 1
    assert parts["values"] == ""
    assert not parts.isna().any()


def test_claims_are_judged_with_holms_correction_over_all_of_them(claimed):
    judged = judge(table(*claimed))
    assert list(judged["verdict"]) == [
        "better",
        "worse",
        "undecided",
        "within noise",
        "within noise",
    ]
    tested = judged[judged["p"].notna() & (judged["second"] != "few · euler · nfe 10")]
    assert (tested["p_holm"] >= tested["p"]).all()
    first, mirrored, few, twin, samplers = (judged.iloc[index] for index in range(5))
    assert first["p_holm"] == pytest.approx(min(1, 5 * first["p"]))
    assert first["difference"] == -mirrored["difference"]
    assert first["low"] < first["difference"] < first["high"] < 0
    assert few["note"] == "a claim needs 5 trainings each, here are 6 and 3: a hint"
    assert "permutation of the trainings" in twin["test"]
    assert "sign flips of the pairs" in samplers["test"]
    assert (samplers["first_nfe"], samplers["second_nfe"]) == (9, 10)


def test_claims_stand_on_the_page_in_the_terminal_and_in_a_file(claimed, tmp_path):
    suite, store = claimed
    rows = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    judged = pd.read_csv(tmp_path / "report" / "claims.csv")
    assert list(judged["verdict"]) == list(judge(rows)["verdict"])
    output = io.StringIO()
    print_leaderboard(rows, Console(file=output, width=40))
    assert (
        f"claim: good · euler · nfe 10 against poor · euler · nfe 10 in {FD}: better"
        in output.getvalue()
    )
    for name in ("leaderboard.md", "report.html"):
        text = (tmp_path / "report" / name).read_text()
        assert (
            "Holm&#x27;s correction over 5 claims" in text
            or "Holm's correction over 5 claims" in text
        )
        assert "a claim needs 5 trainings each, here are 6 and 3: a hint" in text
        assert "any other difference between rows is a hint" in text
        assert "The suite states no claims" not in text
    write(replace(suite, figures="none", claims=()), store, tmp_path / "report", methods=CARDS)
    assert not (tmp_path / "report" / "claims.csv").exists()
    assert (
        "The suite states no claims: every difference between rows is a hint."
        in (tmp_path / "report" / "leaderboard.md").read_text()
    )


def test_a_claim_about_what_is_not_complete_or_not_comparable_stays_undecided_with_the_reason(
    claimed, tmp_path
):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    poor = [point for point in suite.points if point.train == "poor"]
    twin = [point for point in suite.points if point.train == "twin"]
    store.discard(UnitId(*place(poor[0].scores[0])))
    for point in twin:
        finish_scores(store, point, weights="bb" * 32)
    judged = judge(table(suite, store))
    assert list(judged["verdict"][[0, 3]]) == ["undecided"] * 2
    assert judged["note"][0] == "poor · euler · nfe 10 is not complete"
    assert judged["note"][3] == "the numbers have unlike identities: not comparable"
    assert pd.isna(judged["difference"][3])
    assert judged["p"][[0, 3]].isna().all()


def test_a_difference_below_two_deviations_of_the_floor_is_said_to_be_so(claimed, tmp_path):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    floor_of(store, suite, 0.4, 2.0)
    judged = judge(table(suite, store))
    assert list(judged["verdict"])[:2] == ["better", "worse"]
    assert (
        "smaller than 2 standard deviations (4) of what one set of real images scores"
        in judged["note"][0]
    )
    floor_of(store, suite, 0.4, 1e-9)
    assert "standard deviations" not in judge(table(suite, store))["note"][0]


def test_both_references_have_columns_floors_and_the_training_set_itself(claimed, tmp_path):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    to_test = "fd(digits-cnn@8, to test)"
    for point in suite.points:
        for score, extra in zip(
            point.scores, ({}, {"training_set": {"value": 0.0213, "images": 1437}}), strict=True
        ):
            unit = UnitId(*place(score))
            floor = {"mean": 0.4, "std": 0.1, "draws": 20, "split": "test", **extra}
            store.finish(unit, {**store.record(*unit), "floor": floor})
    rows = table(suite, store)
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert f"{FD} ↓" in text
    assert f"{to_test} ↓" in text
    assert f"{FD}: real images against themselves at n = 32" in text
    assert f"{to_test}: real images against themselves at n = 32" in text
    assert f"{to_test}: the training set itself, 1,437 images: 0.0213." in text
    assert f"{FD}: the training set" not in text


def test_rows_with_many_clipped_pixels_or_memorised_images_are_named(small, monkeypatch):
    suite, store = small
    rows = table(suite, store)
    assert "Clipped pixels" not in markdown.markdown(suite, rows, leaderboard(rows))
    rows.loc[rows["train"] == "mute", "clipped_fraction"] = 0.034
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert "Clipped pixels above 1%: mute · heun · nfe 5 (3.4%)." in text
    everywhere = rows.copy()
    everywhere["clipped_fraction"] = np.where(rows["train"] == "mute", 0.034, 0.02)
    monkeypatch.setattr(page, "NAMED", 1)
    text = markdown.markdown(suite, everywhere, leaderboard(everywhere))
    assert "Clipped pixels above 1%: mute · heun · nfe 5 (3.4%); and 1 more." in text, (
        "of the two of its budget"
    )
    for name, share in (("nn_ratio(pixels)", 0.4), ("near_copies(pixels)", 0.2)):
        rows[name] = np.where(rows["train"] == "mute", share, 1.0 if "ratio" in name else 0.0)
        rows.attrs["metrics"][name] = False
        rows.attrs["bounds"][name] = (0, math.inf)
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert "Memorised, nn_ratio(pixels) below 0.5: mute · heun · nfe 5 (0.400)." in text
    assert "Memorised, near_copies(pixels) above 0.01: mute · heun · nfe 5 (0.200)." in text
    short = next(iter(rows.attrs["identities"]))
    rows["identity"] += f"; near_copies(pixels)={short}"
    rows.attrs["floors"]["near_copies(pixels)"] = {short: {"mean": 0.15, "std": 0.01}}
    text = markdown.markdown(suite, rows, leaderboard(rows))
    assert "Memorised, near_copies(pixels) above 0.16: mute · heun · nfe 5 (0.200)." in text


def test_a_bound_is_marked_in_every_table(small):
    suite, store = small
    bounds = {
        **CARDS,
        "toy": replace(
            CARDS["toy"], likelihood=LikelihoodCard(version=1, params=Tolerance, kind="bound")
        ),
    }
    rows = read_results(suite, store, methods=bounds)
    lines = markdown.markdown(suite, rows, leaderboard(rows)).splitlines()
    shown = [line for line in lines if "2.512" in line]
    assert len(shown) == 4  # two budgets, the adaptive one, the models
    assert all("(bound)" in line for line in shown)
    output = io.StringIO()
    print_leaderboard(rows, Console(file=output, width=40))
    assert all("(bound)" in line for line in output.getvalue().splitlines() if "2.512" in line)


# Snapshots

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
    rows = table(*learnt)
    assert rows["snapshot"].isna().sum() == 8  # kept and plain, two budgets, two seeds
    assert (rows["training_images"] == rows["snapshot"].fillna(1000)).all()
    assert set(rows.loc[rows["snapshot"].notna(), "train"]) == {"kept"}


def test_the_learning_curve_has_snapshots_and_end_at_the_largest_budget_of_models_that_keep_some(
    learnt,
):
    rows = table(*learnt)
    summary = learning(rows, Look(rows, ["kept", "plain"]), FD, BOUNDS[FD])
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
    write(suite, store, tmp_path / "out", methods=CARDS)
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "| kept after 400 images |" in text
    assert "| kept " in text
    assert (tmp_path / "out" / "figures" / f"{slug(FD)}-vs-training.png").exists()
    rows = table(suite, store)
    ends = rows[rows["snapshot"].isna()]
    assert len(summarise(ends, Look(rows, ["kept", "plain"]), FD, BOUNDS[FD])) == 4


def test_points_of_many_dimensions_are_drawn_in_the_plane_in_which_real_ones_vary_most():
    data = load_images("gaussian_mixture")
    blocks = [summary.Shown("samples", data.train[:100]), summary.Shown("held out", data.test)]
    (samples, held_out), (low, high) = summary._onto_plane(blocks, data)
    assert samples.images.shape == (100, 2, 1, 1)
    variances = np.linalg.eigvalsh(np.cov(data.test.reshape(-1, 8).T))[::-1]
    np.testing.assert_allclose(
        held_out.images.reshape(-1, 2).var(0, ddof=1), variances[:2], rtol=1e-9
    )
    assert low == -high
    assert np.abs(held_out.images).max() == pytest.approx(high / 1.1)
    plane = load_images("two_modes")
    blocks = [summary.Shown("held out", plane.test)]
    assert summary._onto_plane(blocks, plane) == (blocks, plane.range)
