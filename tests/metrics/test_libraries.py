"""Numbers of other libraries beside our own, and precision and recall."""

import numpy as np
import pytest
import torch

from bench.data.scikit import digits_labels
from bench.metrics.floor import real_floor
from bench.metrics.frechet import frechet_distance, frechet_from_features, frechet_of_moments
from bench.metrics.libraries import (
    kid_of_clean_fid,
    kid_of_torch_fidelity,
    precision_and_recall,
    radii,
)
from bench.metrics.moments import Moments, statistics
from bench.metrics.parameters import FrechetParams, InceptionParams, KernelParams, ManifoldParams
from bench.metrics.scoring import score


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


# Libraries


@pytest.mark.parametrize("backend", ["torch-fidelity", "clean-fid"])
def test_backends_give_the_distance_of_the_own_core(digits, backend):
    images = digits.test[:200]
    own = value(images, "fd", FrechetParams(), digits)
    theirs = value(images, "fd", FrechetParams(backend=backend), digits)
    assert theirs == pytest.approx(
        own, abs=1e-6 * 48
    )  # tr(S1 + S2): each feature of real images has variance 1


def test_kernel_distance_of_two_points_each_is_the_one_by_hand():
    x, y = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 1], [0, 0]])

    def kernel(a, b):
        return (a @ b / 2 + 1) ** 3

    within = kernel(x[0], x[1]) + kernel(y[0], y[1])
    between = np.mean([kernel(a, b) for a in x for b in y])
    expected = within - 2 * between
    assert kid_of_torch_fidelity(x, y, 5, 1000) == pytest.approx(expected)
    assert kid_of_clean_fid(x, y, 5, 1000) == pytest.approx(expected)


def test_kernel_distances_of_both_libraries_agree_within_their_sampling(digits):
    found = [
        value(16 - digits.test, "kd", KernelParams(backend=name, subset_size=300), digits)
        for name in ("torch-fidelity", "clean-fid")
    ]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_clean_fid_draws_from_its_own_seed_and_leaves_numpys_alone(rng):
    x, y = rng.normal(size=(2, 50, 4))
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = kid_of_clean_fid(x, y, 5, 20)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert kid_of_clean_fid(x, y, 5, 20) == first


def test_precision_and_recall_of_three_clusters_are_those_by_hand():
    near = np.array([[0.0], [1], [2], [3]])
    real, samples = np.concatenate([near, near + 100]), np.concatenate([near + 0.5, near + 1000])
    precision, recall = precision_and_recall(samples, real, 3)
    assert (precision, recall) == (0.5, 0.5)
    assert precision_and_recall(real, real, 3) == (1, 1)
    with pytest.raises(ValueError, match="3 neighbours need more images than 3"):
        precision_and_recall(samples[:3], real, 3)
    with pytest.raises(ValueError, match="NaN"):
        precision_and_recall(samples * np.nan, real, 3)


def test_precision_falls_where_samples_are_no_images_and_recall_where_few_are_repeated(digits, rng):
    noise = rng.integers(0, 17, digits.test.shape).astype(np.uint8)
    few = digits.test[np.arange(360) % 20]
    found = {
        kind: [value(images, name, ManifoldParams(), digits) for name in ("precision", "recall")]
        for kind, images in (("real", digits.test), ("noise", noise), ("few", few))
    }
    assert found["noise"][0] < 0.2 < 0.7 < found["real"][0]
    assert found["few"][1] < 0.2 < 0.7 < found["real"][1]


FD, FD_TEST, IS = (
    ("fd", FrechetParams()),
    ("fd", FrechetParams(reference="test")),
    ("is", InceptionParams()),
)


# Precision and recall


def test_precision_and_recall_are_whole_on_equal_sets_and_tell_missing_modes_from_bad_samples(
    digits, rng
):
    def both(images):
        return [
            m.value
            for m in score(
                [images], [(name, ManifoldParams()) for name in ("precision", "recall")], digits
            )
        ]

    assert both(digits.train) == [1, 1]
    labels = digits_labels("train")
    precision, recall = both(digits.train[labels < 3])
    assert precision == 1
    assert recall < 0.5
    noise = rng.integers(0, 17, (360, 1, 8, 8)).astype(np.uint8)
    assert both(noise)[0] < 0.2 < 0.8 < both(digits.test)[0]
    floor = real_floor("recall", ManifoldParams(), digits, 256, draws=5)
    assert 0.6 < floor.mean < 1


def test_all_training_images_against_held_out_ones_are_one_draw_without_a_deviation(digits):
    whole = real_floor(*FD_TEST, digits, len(digits.train), split="train", draws=1)
    assert whole.mean == pytest.approx(value(digits.train, *FD_TEST, digits))
    assert np.isnan(whole.std)


def test_distance_of_few_images_to_moments_is_that_of_the_whole_covariance():
    draws = np.random.default_rng(3)
    few, many = (
        draws.normal(size=(5, 20)),
        1 + draws.normal(size=(3000, 20)) @ draws.normal(size=(20, 20)),
    )
    sides = [Moments(), Moments()]
    for moments, features in zip(sides, (few, many), strict=True):
        moments.add(features)
    exact = frechet_from_features(few, many)
    for found in (frechet_of_moments(*sides), frechet_of_moments(*reversed(sides))):
        assert found == pytest.approx(exact, rel=1e-11)
        # which takes roots of the rounding of eigenvalues that are 0
        assert found == pytest.approx(
            frechet_distance(*statistics(few), *statistics(many)), rel=1e-7
        )


@pytest.mark.parametrize("known", [False, True])
def test_precision_and_recall_are_torch_fidelitys_with_radii_known_or_not(known):
    from torch_fidelity.metric_prc import prc_features_to_metric

    draws = np.random.default_rng(4)
    real = draws.normal(size=(1100, 6)).astype(np.float32)
    samples = (0.8 * draws.normal(size=(1050, 6)) + 0.2).astype(np.float32)
    options = {"prc_neighborhood": 3, "prc_batch_size": 400, "save_cpu_ram": True, "verbose": False}
    theirs = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(real), **options)
    ours = precision_and_recall(samples, real, 3, radii(real, 3) if known else None)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)
    assert 0 < ours[1] < ours[0] < 1
