"""Keys: equal for equal work, and changed by nothing but what is computed."""

import json
from dataclasses import replace

import pytest

from bench.spec import (
    ImagesSpec,
    LikelihoodSpec,
    SampleSpec,
    ScoreSpec,
    TrainSpec,
    canonical,
    flatten,
    from_plain,
    key,
    place,
)

TRAIN = TrainSpec(
    method="sde", method_version=1, dataset="digits", dataset_version=1, params={"sigma_max": 3.0}
)
SAMPLE = SampleSpec(
    train=TRAIN,
    sampler="heun",
    sampler_version=1,
    times="rho7",
    params={"steps": 10},
    batch=128,
    seed=2,
)
LIKELIHOOD = LikelihoodSpec(train=TRAIN, version=1, images=64, batch=64, params={"eps": 1e-3})
SCORE = ScoreSpec(
    source=SAMPLE, count=256, metric="fd", metric_version=1, params={"reference": "test"}
)
IMAGES = ImagesSpec(dataset="digits", dataset_version=1, sha256="0" * 64)
ALL = [TRAIN, SAMPLE, LIKELIHOOD, SCORE, IMAGES, replace(SCORE, source=IMAGES)]


def test_keys_are_those_that_lie_in_stores():
    """Another key for the same spec would orphan what is stored: these are not to be edited."""
    assert key(TRAIN) == "b5add835c96ef7fa1e20"
    assert key(SAMPLE) == "805764f6b7500a57d008"
    assert key(LIKELIHOOD) == "ceacbe9b72396e8e7e58"
    assert key(SCORE) == "43d39c80a7005decb896"


def test_key_is_a_hash_of_canonical_json():
    assert json.loads(json.dumps(canonical(SAMPLE))) == {
        "train": {
            "method": "sde",
            "method_version": 1,
            "dataset": "digits",
            "dataset_version": 1,
            "params": {"sigma_max": 3.0},
        },
        "sampler": "heun",
        "sampler_version": 1,
        "times": "rho7",
        "params": {"steps": 10},
        "batch": 128,
        "seed": 2,
    }
    assert len(key(SAMPLE)) == 20
    assert set(key(SAMPLE)) <= set("0123456789abcdef")


def test_values_at_their_defaults_are_not_in_the_key():
    spelled = replace(SAMPLE, quantise="round", precision="float32", given=None)
    assert key(spelled) == key(SAMPLE)
    assert "quantise" not in canonical(spelled)
    assert "seed" not in canonical(TRAIN)


def test_order_of_parameters_is_not_in_the_key():
    one, other = ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    assert key(replace(TRAIN, params=one)) == key(replace(TRAIN, params=other))


@pytest.mark.parametrize(
    "change",
    [
        {"train": replace(TRAIN, seed=1)},
        {"train": replace(TRAIN, method_version=2)},
        {"train": replace(TRAIN, dataset_version=2)},
        {"train": replace(TRAIN, params={"sigma_max": 3.5})},
        {"sampler": "euler"},
        {"sampler_version": 2},
        {"times": "uniform"},
        {"params": {"steps": 11}},
        {"batch": 64},
        {"quantise": "truncate"},
        {"precision": "float16"},
        {"seed": 3},
        {"given": {"label": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_images_changes_the_key(change):
    assert key(replace(SAMPLE, **change)) != key(SAMPLE)


def test_mended_sampler_does_not_retrain():
    assert replace(SAMPLE, sampler_version=2).train == TRAIN
    assert place(replace(SAMPLE, sampler_version=2).train) == place(TRAIN)


def test_kinds_of_spec_with_equal_values_have_unlike_keys():
    assert len({key(spec) for spec in ALL}) == len(ALL)


def test_metrics_of_one_sample_set_share_a_folder():
    other = replace(SCORE, metric="is", params={})
    assert place(SCORE)[:2] == place(other)[:2]
    assert place(SCORE)[2] != place(other)[2]
    assert place(replace(SCORE, count=512))[1] != place(SCORE)[1]


def test_number_that_is_none_has_no_key():
    with pytest.raises(ValueError, match="JSON"):
        key(replace(TRAIN, params={"sigma_max": float("nan")}))


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: type(spec).__name__)
def test_spec_comes_back_from_its_canonical_values(spec):
    again = from_plain(type(spec), json.loads(json.dumps(canonical(spec))))
    assert again == spec
    assert key(again) == key(spec)


def test_flatten_names_every_value_by_its_path():
    assert flatten(canonical(SCORE))["source.train.params.sigma_max"] == 3.0
    assert flatten({"a": {}, "b": {"c": [1]}}) == {"a": {}, "b.c": [1]}
