"""Averages of weights by power functions: exact shares, and models of one training averaged over
other lengths.
"""

import copy
import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from command_line import Bench
from scipy.integrate import quad
from test_snapshots import Silent, weights
from test_training import SETTINGS, Recorder, Small, denoising, same_bytes
from torch import nn

from bench.card import TrainingCard, cards
from bench.data.images import load_images
from bench.execute.stop import Stop
from bench.method import Noise
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
from bench.stages import context, jobs
from bench.store import Store, UnitId
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite
from methods.shared.average import (
    TRACKED,
    PowerAverages,
    average_of,
    combine,
    exponent,
    inner_product,
    power_decay,
    shares,
)
from methods.shared.hyperparameters import Training
from methods.shared.training import fit

# Profiles


def test_exponents_of_the_tracked_widths_are_those_of_the_paper():
    assert exponent(0.05) == pytest.approx(16.97, abs=0.005)
    assert exponent(0.10) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_relative_width_is_the_standard_deviation_of_the_profile(width):
    gamma = exponent(width)
    first, second = (
        quad(lambda x, k=k: (gamma + 1) * x ** (gamma + k), 0, 1, epsabs=1e-13)[0] for k in (1, 2)
    )
    assert (second - first**2) ** 0.5 == pytest.approx(width, rel=1e-6)


@pytest.mark.parametrize("width", [0.0, -0.1, 0.2887, 1.0])
def test_a_width_that_no_power_function_has_is_refused(width):
    with pytest.raises(ValueError, match="relative width"):
        exponent(width)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_an_average_weighs_each_update_by_the_integral_of_its_profile(width):
    count, gamma = 40, exponent(width)
    seen = np.zeros(count)
    for n in range(1, count + 1):
        seen *= power_decay(gamma, n)
        seen[n - 1] += 1 - power_decay(gamma, n)
    edges = (np.arange(count + 1) / count) ** (gamma + 1)
    np.testing.assert_allclose(seen, np.diff(edges), rtol=1e-12)


@pytest.mark.parametrize(
    ("first", "t", "second", "s"),
    [(3.0, 1.0, 7.0, 0.4), (0.5, 0.2, 17.0, 0.9), (2.0, 1.0, 5.0, 1.0)],
)
def test_inner_products_are_those_of_quadrature(first, t, second, s):
    def product(x):
        return (
            (first + 1) * x**first / t ** (first + 1) * (second + 1) * x**second / s ** (second + 1)
        )

    exact = quad(product, 0, min(t, s), epsabs=1e-13)[0]
    assert inner_product(first, t, second, s) == pytest.approx(exact, rel=1e-8)
    assert inner_product(second, s, first, t) == pytest.approx(exact, rel=1e-8)


# Sums of kept averages


@pytest.mark.parametrize("width", TRACKED)
def test_a_tracked_average_is_made_of_itself_alone(width):
    parts, error = shares(range(100, 1100, 100), width)
    alone = np.zeros_like(parts)
    alone[-1, TRACKED.index(width)] = 1
    np.testing.assert_allclose(parts, alone, atol=1e-6)
    assert error < 1e-6


@pytest.mark.parametrize("width", [0.03, 0.075, 0.15, 0.25])
def test_the_profile_is_met_better_the_more_averages_are_kept(width):
    errors = [
        shares([1000 * k // count for k in range(1, count + 1)], width)[1] for count in (4, 16, 64)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


class Walk(nn.Module):
    """Weights that wander: a drift, an oscillation and a random walk, known at every update."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(200))

    def step(self, n):
        with torch.no_grad():
            self.weight += 0.1 * Noise(0, (n,)).normal((200,)) + 0.01 * np.sin(n / 50)


@pytest.fixture(scope="module")
def walk():
    """The weights of 2000 updates, float64 of shape (2000, 200), and the averages kept after every
    50.
    """
    network = Walk()
    tracked, path, kept = PowerAverages(network), [], {}
    for n in range(1, 2001):
        network.step(n)
        tracked.update(n)
        path.append(network.weight.detach().double().clone())
        if n % 50 == 0:
            kept[n] = {name: tensor.clone() for name, tensor in tracked.tensors().items()}
    return torch.stack(path), kept


def direct(path, width):
    edges = (torch.arange(len(path) + 1, dtype=torch.float64) / len(path)) ** (exponent(width) + 1)
    return edges.diff() @ path


@pytest.mark.parametrize("width", TRACKED)
def test_the_tracked_averages_of_a_recorded_training_are_those_of_its_closed_form(walk, width):
    path, kept = walk
    torch.testing.assert_close(
        kept[2000][f"{width}.weight"].double(), direct(path, width), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("width", [0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25])
@pytest.mark.parametrize("end", [1000, 2000])
def test_an_average_made_afterwards_is_the_one_that_would_have_been_tracked(walk, width, end):
    path, kept = walk
    network = Walk()
    earlier = {n: (lambda n=n: kept[n]) for n in kept if n <= end}
    facts = average_of(network, width, earlier)
    error = (network.weight.double() - direct(path[:end], width)).abs()
    # By Cauchy and Schwarz: the profiles' difference, over the time from 0 to 1, times the weights'
    # root mean square.
    bound = (
        facts["profile_error"] * inner_product(exponent(width), 1.0, exponent(width), 1.0) ** 0.5
    )
    size = path[:end].square().mean(0).sqrt()
    assert (error <= bound * size + 1e-4).all()
    assert error.square().mean().sqrt() < 0.01 * size.mean()


def test_kept_averages_are_read_one_at_a_time():
    reads = []

    def read(n):
        reads.append(n)
        return {f"{width}.weight": torch.ones(2) for width in TRACKED}

    found = combine([lambda n=n: read(n) for n in range(3)], np.full((3, 2), 0.5), ["weight"])
    assert reads == [0, 1, 2]
    assert found["weight"].tolist() == [3, 3]
    assert found["weight"].dtype == torch.float32


# In a training


class Keeper(Recorder):
    """A run that holds what a training keeps."""

    def __init__(self, stop_at=None, resume=None):
        super().__init__(stop_at, resume)
        self.kept = {}
        self.run.keep = lambda images, tensors: self.kept.update(
            {images: {k: v.clone() for k, v in tensors().items()}}
        )


def train(recorder, **settings):
    network = Small()
    average = copy.deepcopy(network)
    fit(
        network,
        average,
        denoising,
        load_images("digits"),
        Training(**(SETTINGS | settings)),
        recorder.run,
    )
    return average


def test_averages_are_kept_after_whole_updates_and_at_the_end():
    settings = Training(steps=12, batch=16, averages_every_images=40)
    assert settings.averaged_at(192) == (48, 80, 128, 160, 192)
    assert settings.averaged_at(100) == (48, 80, 112)
    assert Training(steps=12, batch=16).averaged_at(192) == ()
    recorder = Keeper()
    train(recorder, averages_every_images=40)
    assert sorted(recorder.kept) == [48, 80, 128, 160, 192]


def test_keeping_averages_changes_no_byte_of_the_training():
    assert same_bytes(train(Keeper(), averages_every_images=40), train(Keeper()))


@pytest.mark.parametrize("stop", [1, 5, 10, 12])
def test_a_resumed_training_keeps_the_bytes_that_an_undisturbed_one_keeps(stop):
    whole, part = Keeper(), Keeper(stop)
    train(whole, averages_every_images=40)
    with pytest.raises(InterruptedError):
        train(part, averages_every_images=40)
    rest = Keeper(resume=part.saved)
    train(rest, averages_every_images=40)
    kept = part.kept | rest.kept
    assert kept.keys() == whole.kept.keys()
    for images, tensors in whole.kept.items():
        for name, tensor in tensors.items():
            assert torch.equal(kept[images][name], tensor), (images, name)


# In a suite

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 8}
likelihood: {images: 2, batch: 2, tolerance: 1.0e-1, eps: 1.0e-2}
train:
  vp:
    method: sde
    EXTRA
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4], init_scale: 1.0}
      training: {steps: STEPS, batch: 8, warmup_steps: 2, heldout_images: 16, averages_every_images: EVERY}
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
                context.Context(store, settings, Silent(), Stop(), start="", attempts=1),
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
    assert sorted(sampled) == sorted(job.units for job in jobs)


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
            "ema: is made of averages that a training keeps, and this one keeps none: see `show sde`",
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
