"""Averages of weights in a suite."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from command_line import Bench
from test_snapshots import weights

from bench.card import TrainingCard, cards
from bench.execute.stop import Stop
from bench.plan import expand
from bench.spec import (
    AverageSpec,
    LikelihoodSpec,
    SampleSpec,
    SnapshotSpec,
    TrainSpec,
    canonical,
    from_plain,
    key,
    place,
)
from bench.stages import jobs
from bench.stages.context import Context, Unwatched
from bench.store import Store, UnitId
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite
from methods.shared.hyperparameters import Training

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 8}
figures: ["*-vs-ema"]
likelihood: {images: 2, batch: 2, tolerance: 1.0, eps: 1.0e-2}
train:
  vp:
    method: sde
    EXTRA
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4], init_scale: 1.0}
      training: {steps: STEPS, batch: 8, warmup_steps: 2, heldout_images: 16,
                 averages_every_images: EVERY}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [2]}}
"""


def text(extra="ema: [0.05, 0.15]", steps=6, every="16"):
    return (
        SUITE.replace("EXTRA", extra or "seeds: [0]")
        .replace("STEPS", str(steps))
        .replace("EVERY", every)
    )


def suite_of(folder, **values):
    path = folder / "suite.yaml"
    path.write_text(text(**values))
    return read_suite(path)


def work(store, folder, **values):
    """Makes the weights that a suite asks for and the store lacks, as a worker would; returns those
    it made.
    """
    made = []
    for job in expand(suite_of(folder, **values)):
        if job.stage == "train" and store.record(*job.units[0]) is None:
            settings = {"device": "cpu", "checkpoint_seconds": 1e9}
            jobs.make(
                job,
                job.units[0],
                Context(store, settings, Unwatched(), Stop(), start="", attempts=1),
            )
            made.append(job.specs[0])
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a snapshot after 30 of 48 images and two averages beside the training's own."""
    bench = Bench(tmp_path_factory.mktemp("made"))
    code, out, err = bench.suite(text("snapshots: [30]\n    ema: [0.05, 0.15]")).here()
    assert code == 0, out + err
    return bench


@pytest.fixture(scope="module")
def end(made):
    """The training of that run."""
    (spec,) = read_suite(made.folder / "small.yaml").train["vp"]
    return spec


def test_an_average_is_in_the_key_and_its_absence_is_not():
    spec = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)
    sample = SampleSpec(train=spec, sampler="heun", sampler_version=1, times="", params={}, batch=8)
    for plain in (sample, LikelihoodSpec(train=spec, version=1, images=8, batch=8)):
        assert "ema" not in canonical(plain)
        longer, later = replace(plain, ema=0.1), replace(plain, ema=0.1, snapshot=64)
        assert longer.model == AverageSpec(train=spec, ema=0.1)
        assert longer.model is longer.model
        assert (longer.model.source, later.model.source) == (
            spec,
            SnapshotSpec(train=spec, images=64),
        )
        assert len({key(each) for each in (plain, longer, later, replace(plain, ema=0.2))}) == 4
        for each in (longer, later):
            assert from_plain(type(each), json.loads(json.dumps(canonical(each)))) == each
    average = AverageSpec(train=spec, ema=0.1)
    assert place(average)[0::2] == ("train", "weights")
    assert from_plain(AverageSpec, canonical(average)) == average


def test_each_average_is_a_point_beside_the_trainings_own(tmp_path):
    suite = suite_of(tmp_path, extra="snapshots: [30]\n    ema: [0.05, 0.15]")
    found = [(point.sample.snapshot, point.sample.ema) for point in suite.points]
    assert found == [(taken, ema) for taken in (30, None) for ema in (None, 0.05, 0.15)]
    assert found == [(point.likelihood.snapshot, point.likelihood.ema) for point in suite.points]
    assert suite.points[-1].group == "vp · euler_maruyama · nfe 2 · EMA 0.15"
    assert suite.points[1].group == "vp · euler_maruyama · nfe 2 · after 30 images · EMA 0.05"
    assert suite.resolved["train"]["vp"]["ema"] == [0.05, 0.15]
    assert suite_of(tmp_path, extra="").points[0] == suite.points[3]


def test_an_average_needs_the_training_that_it_is_of(tmp_path):
    suite = suite_of(tmp_path, extra="snapshots: [30]\n    ema: [0.05]")
    jobs = [job for job in expand(suite) if job.stage == "train"]
    assert [job.label for job in jobs] == [
        "vp to 30 images",
        "vp to 30 images, EMA 0.05",
        "vp",
        "vp, EMA 0.05",
    ]
    assert [job.needs for job in jobs] == [(), jobs[0].units, jobs[0].units, jobs[2].units]
    sampled = [job.needs for job in expand(suite) if job.stage == "samples"]
    assert sorted(map(tuple, sampled)) == sorted(tuple(job.units) for job in jobs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"extra": "ema: [0.1, 0.3]"},
            "ema.1: is a relative width: it should lie between 0 and 12^-1/2",
        ),
        ({"extra": "ema: [0.0]"}, "ema.0: is a relative width"),
        ({"extra": "ema: [0.1, 0.1]"}, "ema.1: stands in this list twice"),
        ({"extra": "ema: [long]"}, "ema.0: should be a number"),
        ({"extra": "ema: 0.1"}, "ema: should be a list"),
        ({"extra": "ema: []"}, "ema: should not be empty"),
        (
            {"every": "null"},
            "ema: is made of averages that a training keeps, and this one keeps none: "
            "see `show sde`",
        ),
        ({"every": "0"}, "averages_every_images should be positive"),
    ],
)
def test_averages_that_cannot_be_are_refused_when_the_suite_is_read(tmp_path, values, message):
    with pytest.raises(SuiteError) as caught:
        suite_of(tmp_path, **values)
    assert message in str(caught.value)


def test_a_method_that_keeps_no_averages_says_so(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(text())
    for training in (None, TrainingCard(images=lambda params: 48)):
        with pytest.raises(SuiteError, match="keeps n"):
            read_suite(path, cards={"sde": replace(cards()["sde"], training=training)})


def test_a_trial_run_makes_one_average(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(text(steps=1000, every="1000"))
    assert read_suite(path, smoke=True).ema == {"vp": (0.05,)}


def test_averages_are_rows_with_weights_of_their_own_of_one_training(made, end):
    with open(made.results / "small" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["ema"] for row in rows] == ["", "0.05", "0.15"] * 2
    assert [row["state"] for row in rows] == ["done"] * 6
    assert [row["training_images"] for row in rows] == ["32"] * 3 + ["48"] * 3
    for column in ("train_key", "key", "bits_per_dim", "fd(digits-cnn@8)"):
        assert len({row[column] for row in rows}) == 6, column
    assert len({row["training_flops"] for row in rows}) == 2
    tried = [unit for unit in made.attempts() if unit.stage == "train"]
    assert len(tried) == 6
    report = (made.results / "small" / "leaderboard.md").read_text()
    assert "| vp, EMA 0.15 " in report
    assert "| vp after 30 images, EMA 0.05 " in report
    assert (made.results / "small" / "figures" / "fd-digits-cnn-8-vs-ema.png").exists()


def test_an_average_replaces_the_weights_that_are_sampled_from_and_no_others(made, end):
    own = safetensors.torch.load(weights(made.store, end))
    tracked = made.store.read(UnitId(*place(end)), ".000000000048.safetensors")
    tracked = safetensors.torch.load(tracked)
    other = safetensors.torch.load(weights(made.store, AverageSpec(train=end, ema=0.05)))
    assert own.keys() == other.keys()
    for name, tensor in other.items():
        if name.startswith("ema.") and (same := f"0.05.{name.removeprefix('ema.')}") in tracked:
            torch.testing.assert_close(tensor, tracked[same], rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(tensor, own[name])


def test_a_record_says_what_the_average_was_made_of(made, end):
    record = made.store.record(*place(AverageSpec(train=end, ema=0.15)))
    assert record["average"].items() >= {"of": key(end), "ema": 0.15, "kept": 3}.items()
    assert 0 < record["average"]["profile_error"] < 1
    assert record["images"] == 48
    files = made.store.record(*place(end))["files"]
    assert sorted(files) == [f"weights.{n:012d}.safetensors" for n in (16, 32, 48)] + [
        "weights.safetensors"
    ]


def test_more_averages_of_a_stored_training_take_no_update(made, end, tmp_path):
    store = Store(tmp_path / "copy")
    shutil.copytree(made.store.root, store.root)
    assert work(store, tmp_path, extra="ema: [0.05, 0.2]") == [AverageSpec(train=end, ema=0.2)]


def test_a_longer_training_takes_over_what_a_shorter_one_kept_to_the_same_bytes(made, tmp_path):
    copied, fresh = Store(tmp_path / "copy"), Store(tmp_path / "fresh")
    shutil.copytree(made.store.root, copied.root)
    for store in (copied, fresh):
        made_now = work(store, tmp_path, steps=9, extra="ema: [0.15]")
        assert len(made_now) == 2
    assert copied.record(*place(made_now[0]))["went_on_from"] is not None
    assert fresh.record(*place(made_now[0]))["went_on_from"] is None
    for spec in made_now:
        assert weights(copied, spec) == weights(fresh, spec)
    files = [
        {
            name: facts["sha256"]
            for name, facts in store.record(*place(made_now[0]))["files"].items()
        }
        for store in (copied, fresh)
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 6  # 16, 32, 48, 64 and 72 images, and the weights


@pytest.mark.parametrize("harm", ["altered", "missing"])
def test_a_damaged_average_is_found_and_its_training_made_again_to_the_same_bytes(
    made, end, tmp_path, harm
):
    store = Store(tmp_path / "copy")
    shutil.copytree(made.store.root, store.root)
    before = store.record(*place(end))["files"]
    for spec in (end, SnapshotSpec(train=end, images=30)):
        path = store.path(UnitId(*place(spec)), ".000000000016.safetensors")
        path.write_bytes(path.read_bytes()[:-1] + b"x") if harm == "altered" else path.unlink()
    assert store.record(*place(end)) is None
    work(store, tmp_path, extra="snapshots: [30]\n    ema: [0.05, 0.15]")
    after = store.record(*place(end))["files"]
    assert {name: facts["sha256"] for name, facts in after.items()} == {
        name: facts["sha256"] for name, facts in before.items()
    }


def test_averages_kept_too_often_are_refused_when_the_suite_is_read():
    often = Training(steps=1_300_000, averages_every_images=1)
    assert often.refuse() == [
        "training.averages_every_images keeps averages 166,400,000 times: at most 10,000"
    ]
    assert often.averaged_at(often.images) == ()
    assert Training(steps=1000, batch=64, averages_every_images=6400).refuse() == []
