"""What random draws (dequantisations, probes) make of bits/dim is told apart from what the images
make of it.
"""

import math

import pandas as pd
import pytest
import torch

from bench.card import cards
from bench.data.images import load_images
from bench.execute.stop import Stop
from bench.method import load_method
from bench.plan import Job
from bench.report.formats import bits_text
from bench.report.likelihood import draw_deviation
from bench.spec import LikelihoodSpec, TrainSpec, place
from bench.stages import cost, jobs, likelihood
from bench.stages.context import Context
from bench.store import Store, UnitId
from methods.shared.likelihood import over_draws


def test_several_draws_give_the_variance_of_their_mean():
    bits_of = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]), torch.tensor([2.0, 2.0])]
    found = over_draws(bits_of)
    assert found["bits_per_dim"].tolist() == [2.0, 2.0]
    assert found["bits_per_dim_draw_variance"].tolist() == pytest.approx([1 / 3, 0.0])
    assert list(over_draws(bits_of[:1])) == ["bits_per_dim"]


def test_deviation_of_one_image_is_that_of_its_draws_or_of_pairs():
    values = {"bits_per_dim": [3.0, 4.0, 5.0]}
    several = [{"values": {**values, "bits_per_dim_draw_variance": [0.01, 0.03, 0.05]}}]
    assert draw_deviation(several) == pytest.approx(math.sqrt(0.03))
    pairs = [{"values": values, "again": [3.2, 4.4]}, {"values": values}]
    assert draw_deviation(pairs) == pytest.approx(math.sqrt((0.2**2 + 0.4**2) / 4))
    assert draw_deviation([{"values": values}]) is None


def test_pairs_estimate_the_deviation_of_a_draw_whatever_the_images():
    random = torch.Generator().manual_seed(0)
    images = 3 + torch.rand(4000, generator=random)
    first, second = (images + 0.3 * torch.randn(4000, generator=random) for _ in range(2))
    record = {"values": {"bits_per_dim": first.tolist()}, "again": second.tolist()}
    assert draw_deviation([record]) == pytest.approx(0.3, rel=0.05)


def test_page_says_what_draws_make_of_the_error_where_it_is_known():
    assert bits_text(3.25, 0.02) == "3.250 ± 0.020 (over images)"
    assert bits_text(3.25, 0.02, (None, None)) == "3.250 ± 0.020 (over images)"
    assert bits_text(3.25, 0.02, (math.nan, pd.NA)) == "3.250 ± 0.020 (over images)"
    assert bits_text(3.25, 0.02, (0.0091, 0.31)) == (
        "3.250 ± 0.020 (over images; of it draws ± 0.0091, of one image ± 0.31)"
    )


class Lease:
    """A lease that nobody else wants."""

    def check(self) -> None:
        pass

    def note(self, **facts) -> None:
        pass


def test_first_images_are_scored_by_a_second_draw_and_the_cost_of_the_first_is_recorded(
    tmp_path, monkeypatch
):
    name = next(name for name, card in cards().items() if card.likelihood is not None)
    data = load_images("digits")
    method = load_method(name, cards()[name].tiny, data)
    train = TrainSpec(
        method=name,
        method_version=1,
        dataset="digits",
        dataset_version=1,
        params=cards()[name].tiny,
    )
    monkeypatch.setattr(cost, "_FLOPS", {})
    monkeypatch.setattr(likelihood, "trained_model", lambda context, spec: method)
    context = Context(Store(tmp_path), {"device": "cpu"}, Lease(), Stop(), start="", attempts=1)
    records = []
    for repeats in (1, 2):
        spec = LikelihoodSpec(
            train=train,
            version=1,
            params={"tolerance": 0.1, "repeats": repeats},
            images=10,
            batch=10,
        )
        stage, key, _ = place(spec)
        job = Job(stage=stage, key=key, label="", specs=(spec,), parts=("00000",))
        jobs.make(job, UnitId(stage, key, "00000"), context)
        records.append(context.store.record(stage, key, "00000"))
    once, twice = records
    assert len(once["again"]) == likelihood.AGAIN
    assert not set(once["again"]) & set(once["values"]["bits_per_dim"])
    assert "again" not in twice
    assert len(twice["values"]["bits_per_dim_draw_variance"]) == 10
    forward, backward = next(iter(cost._FLOPS.values()))
    assert forward > 0 < backward
    # One probe: a way back for each evaluation.
    assert once["flops_per_image"] == pytest.approx(once["nfe"] * (forward + backward))
