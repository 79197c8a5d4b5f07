"""Published numbers: the tracked file, and which rows they are held against."""

import math

import pytest
from made_results import group, made

from bench.card import cards
from bench.data.registry import DATASETS
from bench.metrics.registry import METRICS
from bench.report.columns import BITS
from bench.report.page.board import board as html_board
from bench.report.page.views import views
from bench.report.published import published_of, published_text, read_published

PRESET = "ve/cifar10_ncsnpp_deep_continuous"
IDENTITY = {
    "metric": "fd",
    "count": 50_000,
    "reference": {"dataset": "cifar10@1", "split": "train", "images": 50_000},
}


def of_cifar(*, sampler="predictor_corrector", identity=IDENTITY, preset=PRESET, dataset="cifar10"):
    rows = group("deep", sampler, 2000, [[2.25]], method_name="sde", preset=preset)
    for row in rows:
        row |= {"FID": 2.25, "identity": {"FID": "cccccccc"}}
    results = made(rows, metrics=(), dataset=dataset)
    results.identities["cccccccc"] = identity
    results.rows["FID"] = results.rows["FID"].astype(float)
    object.__setattr__(results, "metrics", {"FID": METRICS["fd"]})
    return results


def first(results):
    return results.board.iloc[0]


def test_the_file_names_methods_presets_data_sets_and_metrics_that_exist():
    known, columns = cards(), {"FID", "IS", BITS}
    assert len(read_published()) == 61
    for one in read_published():
        assert one.dataset in DATASETS
        assert one.metric in columns
        assert one.source
        assert math.isfinite(one.value)
        if one.method:
            assert one.preset in known[one.method].presets
            flows = one.sampler == "flow"
            assert flows or one.sampler in known[one.method].samplers


def test_published_values_are_those_of_the_authors_table():
    found = {(one.preset, one.metric, one.sampler): one.value for one in read_published()}
    assert found[PRESET, "FID", "predictor_corrector"] == 2.20
    assert found["vp/ddpm/cifar10", BITS, "flow"] == 3.28
    assert found["subvp/cifar10_ddpmpp_deep_continuous", BITS, "flow"] == 2.99


def test_a_row_of_the_same_model_sampler_data_and_identity_has_its_published_number():
    results = of_cifar()
    found = published_of(results, first(results))
    assert found["FID"].value == 2.20
    assert published_text(first(results), found, "FID") == "2.20 (+0.05)"
    assert "published (ours above it)" in html_board(results, {})
    (mark,) = views(results)[0].view.published
    assert mark.y == 2.20
    assert "its cost is not said" in mark.tip


@pytest.mark.parametrize(
    ("named", "is_it"),
    [
        ("predictor euler_maruyama · corrector none", True),
        ("predictor ancestral · corrector none", False),
        ("predictor euler_maruyama", False),
    ],
)
def test_a_predictor_without_a_corrector_is_the_sampler_that_the_paper_names(named, is_it):
    results = of_cifar(preset="vp/cifar10_ddpmpp_continuous")
    row = first(results).to_dict()
    row["group"] = f"{row['group']} · {named}"
    assert ("FID" in published_of(results, row)) == is_it


@pytest.mark.parametrize(
    "unlike",
    [
        {"sampler": "ancestral"},
        {"identity": {**IDENTITY, "count": 10_000}},
        {"identity": {**IDENTITY, "reference": {"dataset": "cifar10@1", "split": "test"}}},
        {"identity": {**IDENTITY, "reference": {"dataset": "celeba64@1", "split": "train"}}},
        {"preset": ""},
        {"dataset": "digits"},
    ],
    ids=["sampler", "few images", "held-out reference", "other reference", "own", "other data"],
)
def test_a_row_that_differs_in_anything_has_none(unlike):
    results = of_cifar(**unlike)
    assert published_of(results, first(results)) == {}
    assert "published" not in html_board(results, {})
