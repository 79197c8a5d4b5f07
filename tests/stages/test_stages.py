"""Costs of units, counted and measured, of a method whose every cost is known by hand."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counting_method import (
    BACKWARD,
    CARD,
    COUNT_SECONDS,
    FORWARD,
    PIXELS,
    SAMPLE_SECONDS,
    TRAIN_SECONDS,
    WIDTH,
    Clock,
    Counting,
    Params,
    Walk,
)

from bench import prefix
from bench.card import LikelihoodCard
from bench.data.images import load_images
from bench.execute.stop import Stop
from bench.method import Curve, Inspection, Noise, Scored
from bench.plan import Job
from bench.spec import InspectSpec, LikelihoodSpec, SampleSpec, TrainSpec, place
from bench.stages import checkpoints, cost, jobs, model, sample, train, weights
from bench.stages import context as stage_context
from bench.store import Store, UnitId


class Lease:
    """A lease that nobody reads."""

    def note(self, **values) -> None:
        pass


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    passing = {"monotonic": clock.read, "perf_counter": clock.read}
    for module in (checkpoints, cost, stage_context, weights):
        monkeypatch.setattr(module, "time", SimpleNamespace(**{**vars(time), **passing}))
    return clock


@pytest.fixture
def context(tmp_path, monkeypatch, clock):
    for module in (train, weights):
        monkeypatch.setattr(module, "cards", lambda: {"counting": CARD})
    monkeypatch.setattr(prefix, "cards", lambda: {"counting": CARD})
    for module in (train, model):
        monkeypatch.setattr(
            module,
            "load_method",
            lambda name, params, data, device: Counting(Params(**params), data, clock),
        )
    monkeypatch.setattr(cost, "_FLOPS", {})
    monkeypatch.setattr(model, "_MODELS", {})
    settings = {"device": "cpu", "checkpoint_seconds": 0.0, "tf32": True}
    return stage_context.Context(
        Store(tmp_path / "store"), settings, Lease(), Stop(), start="2026-01-01", attempts=7
    )


TRAIN = TrainSpec(method="counting", method_version=1, dataset="digits", dataset_version=1)


def sample_spec(**values):
    known = {
        "sampler": "walk",
        "sampler_version": 1,
        "times": "",
        "params": {"steps": 2},
        "batch": 8,
    }
    return SampleSpec(train=TRAIN, **{**known, **values})


def made(context, spec, part):
    """Makes one unit and returns its record."""
    stage, key, _ = place(spec)
    job = Job(stage=stage, key=key, label="", specs=(spec,), parts=(part,))
    jobs.make(job, UnitId(stage, key, part), context)
    return context.store.record(stage, key, part)


@pytest.fixture
def trained(context):
    return made(context, TRAIN, "weights")


# Cost


def test_network_evaluations_are_rows_an_image_however_the_network_is_called(context, trained):
    for batch in (8, 3, 1):
        assert made(context, sample_spec(batch=batch, params={"steps": 5}), "00000")["nfe"] == 5


def test_operations_of_a_row_are_those_of_the_layers_attention_included(context, trained):
    assert made(context, sample_spec(), "00000")["flops_per_row"] == FORWARD


def test_operations_of_a_training_are_those_of_forward_and_backward_times_its_images(trained):
    assert (trained["images"], trained["steps"]) == (30, 3)
    assert trained["flops"] == 30 * (FORWARD + BACKWARD)
    assert trained["parameters"] == (9 + 1) * WIDTH + WIDTH + 1


def test_seconds_of_a_training_are_without_those_of_counting_its_operations(
    context, clock, monkeypatch
):
    count = cost.training_flops
    monkeypatch.setattr(
        train, "training_flops", lambda *given: clock.pass_(COUNT_SECONDS) or count(*given)
    )
    assert made(context, TRAIN, "weights")["seconds"] == 3 * TRAIN_SECONDS


def test_seconds_of_a_batch_are_those_of_sampling_it(context, clock, trained, monkeypatch):
    count = cost.counted_flops
    monkeypatch.setattr(
        sample, "counted_flops", lambda *given: clock.pass_(COUNT_SECONDS) or count(*given)
    )
    for part in ("00000", "00001"):
        assert made(context, sample_spec(), part)["seconds"] == SAMPLE_SECONDS


def test_state_to_resume_from_is_there_while_a_training_runs_and_deleted_once_it_is_done(
    context, monkeypatch
):
    resume = context.store.folder("train", place(TRAIN)[1]) / "resume.safetensors"
    there = []
    monkeypatch.setattr(
        Counting,
        "state",
        lambda self: there.append(resume.exists()) or dict(self.network.state_dict()),
    )
    made(context, TRAIN, "weights")
    assert there == [True]
    assert not resume.exists()


INSPECT = InspectSpec(train=TRAIN, version=1, images=5)


def test_record_of_an_inspection_holds_mean_and_standard_error_of_each_level_over_its_images(
    context, trained, monkeypatch
):
    seen, losses = [], torch.tensor([[1.0, 2, 3, 4, 5], [7, 7, 7, 7, 7]])

    def inspect(self, images, noise):
        seen.append((images, noise.normal((3,))))
        levels = torch.tensor([0.1, float("nan")])
        strips, curves = (
            {"path": torch.ones(1, 2, 1, 8, 8)},
            {"levels": Curve(torch.arange(3), torch.ones(3), "k", "s")},
        )
        return Inspection(torch.tensor([0.5, 1.0]), levels, losses, "std", strips, curves)

    monkeypatch.setattr(Counting, "inspect", inspect)
    record = made(context, INSPECT, "inspection")
    assert (record["times"], record["losses"]) == ([0.5, 1.0], [3.0, 7.0])
    assert record["noise_levels"] == [pytest.approx(0.1), None]
    assert record["errors"] == [pytest.approx((2.5 / 5) ** 0.5), 0.0]
    assert record["identity"] == {
        **{
            "dataset": "digits@1",
            "split": "test",
            "drawn": "5 of 360, drawn at random",
            "seed": 0,
            "images": 5,
        },
        **{"weighting": "std", "version": 1},
    }
    drawn = load_images("digits").drawn("test", slice(5))
    assert torch.equal(seen[0][0], torch.from_numpy(drawn).float() / 16)
    assert torch.equal(seen[0][1], Noise(0, ("inspect",)).normal((3,)))
    arrays = np.load(context.store.path(UnitId(*place(INSPECT)), ".npz"))
    assert {name: arrays[name].shape for name in arrays} == {
        **{"strip/0": (1, 2, 1, 8, 8), "curve/0/x": (3,), "curve/0/y": (3,)}
    }


def test_likelihood_is_of_images_drawn_from_the_split_batch_by_batch(context, trained, monkeypatch):
    seen = []

    def score(self, images, noise, params):
        seen.append(images)
        return Scored({"bits_per_dim": torch.ones(len(images))})

    monkeypatch.setattr(
        Counting, "card", replace(CARD, likelihood=LikelihoodCard(version=1, params=Walk))
    )
    monkeypatch.setattr(Counting, "score", score)
    spec = LikelihoodSpec(train=TRAIN, version=1, images=5, batch=3)
    records = [made(context, spec, part) for part in ("00000", "00001")]
    drawn = load_images("digits").drawn("test", slice(5))
    first, again, second = (
        seen  # a second draw of the first batch tells what draws make of its numbers
    )
    assert torch.equal(torch.cat([first, second]), torch.from_numpy(drawn).long())
    assert torch.equal(again, first)
    assert (len(first), len(second)) == (3, 2)
    assert {record["identity"]["drawn"] for record in records} == {"5 of 360, drawn at random"}


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"losses": torch.ones(2, 4)}, ValueError, r"losses \(2, 4\) .* expected \(2, 5\)"),
        ({"noise_levels": torch.ones(3)}, ValueError, r"noise levels \(3,\)"),
        (
            {"losses": torch.full((2, 5), float("nan"))},
            stage_context.DivergedError,
            r"NaN or infinite at t = 0.5, 1",
        ),
        (
            {"strips": {"path": torch.ones(2, 1, 8, 8)}},
            ValueError,
            r"strip 'path' in shape \(2, 1, 8, 8\)",
        ),
        (
            {"curves": {"c": Curve(torch.ones(2), torch.ones(3), "", "")}},
            ValueError,
            r"curve 'c' in shapes \(2,\)",
        ),
    ],
)
def test_inspection_of_another_shape_or_not_finite_fails_with_its_cause(
    context, trained, monkeypatch, change, error, why
):
    shown = Inspection(torch.tensor([0.5, 1.0]), torch.ones(2), torch.ones(2, 5))
    monkeypatch.setattr(Counting, "inspect", lambda self, images, noise: replace(shown, **change))
    with pytest.raises(error, match=why):
        made(context, INSPECT, "inspection")


# Batches


@pytest.mark.parametrize("rule", ["round", "truncate"])
def test_stored_images_are_the_batch_in_levels_by_the_rule_of_the_suite(context, trained, rule):
    spec = sample_spec(quantise=rule)
    made(context, spec, "00000")
    levels = torch.linspace(-0.25, 1.25, PIXELS, dtype=torch.float32).double().clamp(0, 1) * 16
    expected = (levels.round() if rule == "round" else levels.floor()).numpy().astype(np.uint8)
    stored = context.store.images(place(spec)[1], 8)
    assert stored.shape == (8, 1, 8, 8)
    assert (stored.reshape(8, PIXELS) == expected).all()


@pytest.mark.parametrize(("rule", "outside"), [("round", 20), ("truncate", 22)])
def test_clipped_are_the_values_that_the_rule_would_not_take_to_the_ends_anyway(
    context, trained, rule, outside
):
    # Of -0.25 + 1.5 k / 63, ten on either side lie more than half a level (1/32) outside [0, 1],
    # eleven at all.
    assert made(context, sample_spec(quantise=rule), "00000")["clipped"] == outside / PIXELS


# Records


def test_record_says_who_made_it_where_when_and_with_what(trained):
    provenance = trained["provenance"]
    environment = {"commit", "dirty", "host", "packages"}
    assert set(provenance) == environment | {
        *(
            "device",
            "accelerator",
            "threads",
            "tf32",
            "compiled",
            "start",
            "end",
            "attempts",
            "attempt_seconds",
        ),
    }
    assert set(provenance["packages"]) == {"python", "torch", "numpy", "scipy", "scikit-learn"}
    assert provenance["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (provenance["start"], provenance["attempts"], provenance["compiled"]) == (
        "2026-01-01",
        7,
        False,
    )
    assert provenance["tf32"] is False  # a CPU has none, whatever the executor says
    assert provenance["threads"] == torch.get_num_threads()
    assert provenance["accelerator"] == "cpu"
    assert all(provenance[name] for name in ("host", "device", "end"))


def environment():
    return stage_context._environment.__wrapped__()
