"""Data sets: patches and points against their definitions, and what `assets` says of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from bench.cli.parser import main
from bench.data import cifar, synthetic
from bench.data.fault import InputError
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS


def test_published_facts_are_of_files_that_the_card_asks_for():
    for card in DATASETS.values():
        places = {place for places in card.files for place in places}
        assert card.facts.keys() <= places
        for place, facts in card.facts.items():
            told = " ".join(card.files.values())
            assert facts.md5 is None or "/" in place or facts.md5 in told


def test_patches_are_crops_of_the_photographs_and_those_held_out_share_no_pixel_with_the_others():
    from sklearn import datasets

    images, photos = load_images("photo_patches"), datasets.load_sample_images().images
    assert (images.shape, images.levels, images.card.flips) == ((3, 32, 32), 256, True)
    windows = [
        np.lib.stride_tricks.sliding_window_view(photo, (32, 32), axis=(0, 1)) for photo in photos
    ]
    left, right = (
        [part[::4, columns].reshape(-1, 3, 32, 32) for part in windows]
        for columns in (slice(0, 481, 4), slice(512, None, 4))
    )
    for split, crops in (("train", left), ("test", right)):
        expected = sorted(crop.tobytes() for crop in np.concatenate(crops))
        assert sorted(crop.tobytes() for crop in images.split(split)) == expected
    assert (
        480 + 32 <= 512
    )  # the last column of the last training crop lies left of the first held-out one


def names_of_files_below_the_root():
    return [
        name
        for name, card in DATASETS.items()
        if card.files and not any(place.startswith("/") for names in card.files for place in names)
    ]


@pytest.mark.parametrize("name", names_of_files_below_the_root())
def test_missing_files_are_refused_by_the_reader(root, name):
    """So that a failed job shows the message without a traceback."""
    with pytest.raises(
        InputError, match=r"missing|holds none|holds not both|not there|nothing lies"
    ):
        assert load_images(name).train is None


SUITE = """
name: photographs
dataset: cifar10
metrics: []
samples: {count: 2, batch: 2}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [5]}}
"""


def test_assets_say_what_to_put_where_and_any_form_of_it_is_enough(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "photographs.yaml").write_text(SUITE)
    assert main(["assets", "photographs.yaml"]) == 1
    out = capsys.readouterr().out
    for place in cifar.CIFAR10.places:
        assert f"\n    {tmp_path / 'data' / place}" in out
    for fact in (
        "c32a1d4ab5d03f1284b67883e8d87530",
        "c58f30108f718f92721af3b95e74349a",
        "kriz/cifar.html",
        "162 MB",
    ):
        assert fact in out
    assert main(["photographs.yaml"]) == 1
    assert "c32a1d4ab5d03f1284b67883e8d87530" in capsys.readouterr().err
    for place in cifar.CIFAR10.places:
        (tmp_path / "data" / place).mkdir(parents=True)
        assert main(["assets", "photographs.yaml"]) == 0
        out = capsys.readouterr().out
        assert f"data set cifar10: {tmp_path / 'data' / place}: there" in out
        assert "nothing is missing" in out
        (tmp_path / "data" / place).rmdir()


TOYS = ("two_modes", "swiss_rolls", "diamond")


@pytest.mark.parametrize("name", TOYS)
def test_real_values_are_seen_in_zero_to_one_and_go_back_to_their_own_units(name):
    images = load_images(name)
    (low, high), stored = images.range, images.train[:100]
    assert (images.kind, images.levels, images.train.dtype, images.shape) == (
        "real",
        0,
        np.float32,
        (2, 1, 1),
    )
    assert (images.span, images.scaled(np.array([low, 0, high])).tolist()) == (
        high - low,
        [0, 0.5, 1],
    )
    np.testing.assert_allclose(
        images.unscaled(images.scaled(stored.astype(float))), stored, rtol=1e-12
    )
    batch = images.batch(seed=0, k=0, size=10_000)
    assert batch.dtype == torch.float32
    expected = np.sort((images.train.astype(float) - low) / (high - low), axis=0)
    np.testing.assert_allclose(np.sort(batch.numpy(), axis=0), expected, atol=1e-6)
    assert not np.array_equal(images.train, images.test)


def test_values_beyond_the_declared_range_and_not_finite_ones_are_refused():
    card = DATASETS["diamond"]
    for wrong in (1.5, np.nan):
        spoilt = replace(
            card, load=lambda split, wrong=wrong: np.full((10_000, 2, 1, 1), wrong, np.float32)
        )
        with pytest.raises(ValueError, match=r"toy: split train has shape .* in -1\.0\.\.1\.0"):
            Images("toy", spoilt).split("train")


@pytest.mark.parametrize("name", ["two_modes", "diamond", "gaussian", "gaussian_mixture"])
def test_declared_mixture_has_the_moments_of_the_draws(name):
    images = load_images(name)
    mixture, x = (
        images.mixture,
        images.scaled(images.train.astype(float)).reshape(-1, images.shape[0]),
    )
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-15)
    nearest = mixture.component(x)
    error = 4 / np.sqrt(
        len(x)
    )  # standard errors, of shares and of means in units of the component's deviation
    for k, weight in enumerate(mixture.weights):
        mine = x[nearest == k]
        assert abs(len(mine) / len(x) - weight) < error * np.sqrt(weight)
        np.testing.assert_allclose(
            mine.mean(0), mixture.means[k], atol=error * mixture.stds[k] / np.sqrt(weight)
        )
        # 5 deviations lie between the means at least, so what is cut off of a component is nothing
        # here
        np.testing.assert_allclose(mine.std(0), mixture.stds[k], rtol=error / np.sqrt(weight))


def test_two_modes_are_one_of_weight_a_fifth_and_one_of_four():
    weights, means, stds = synthetic.two_modes_mixture()
    assert (weights.tolist(), means.tolist(), stds.tolist()) == (
        [0.2, 0.8],
        [[-5, -5], [5, 5]],
        [1, 1],
    )


def test_diamond_stands_on_its_corner():
    _, means, _ = synthetic.diamond_mixture()
    assert np.abs(means).sum(1).max() == pytest.approx(
        np.sqrt(0.5)
    )  # |x| + |y| is the largest on its sides
    extremes = sorted(map(tuple, np.round(means[np.abs(means).max(1) > 0.7], 4)))
    assert extremes == [(-0.7071, 0), (0, -0.7071), (0, 0.7071), (0.7071, 0)]
    assert len(np.unique(np.round(means, 9), axis=0)) == 9


def test_swiss_rolls_are_scikit_learns_in_small_around_five_centres():
    from sklearn import datasets

    points = synthetic.swiss_rolls(50, np.random.RandomState(5))
    random = np.random.RandomState(5)
    counts = random.multinomial(50, [0.2] * 5)
    rolls = [
        datasets.make_swiss_roll(k, noise=0.2, random_state=random)[0][:, [0, 2]] * 0.01
        for k in counts
    ]
    expected = np.concatenate(
        [roll + centre for roll, centre in zip(rolls, synthetic.CENTRES, strict=True)]
    )
    random.shuffle(expected)
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["two_modes", "diamond", "gaussian", "gaussian_mixture"])
def test_truth_is_the_density_and_the_moments_of_the_mixture(name):
    images = load_images(name)
    mixture, x = (
        images.mixture,
        images.scaled(images.test.astype(float)).reshape(len(images.test), -1),
    )
    dims = x.shape[1]
    parts = [
        weight * multivariate_normal(mean, std**2 * np.eye(dims)).pdf(x[:50])
        for weight, mean, std in zip(mixture.weights, mixture.means, mixture.stds, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_prob(x[:50]), np.log(sum(parts)), rtol=1e-10)
    mean, covariance = mixture.moments()
    error = 5 / np.sqrt(len(x)) * np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), error)
    assert np.abs(np.cov(x.T) - covariance).max() < 10 / np.sqrt(len(x)) * np.diag(covariance).max()


def test_gaussian_has_the_entropy_of_its_width():
    images = load_images("gaussian")
    x = images.test.astype(float).reshape(-1, 8)
    bits = -images.card.mixture().log_prob(x) / (8 * np.log(2))
    entropy = 0.5 * np.log2(2 * np.pi * np.e)
    assert bits.mean() == pytest.approx(entropy, abs=4 * bits.std() / np.sqrt(len(x)))
    # In [0, 1] all lies 16 times closer together, and each dimension takes 4 bits less.
    scaled = -images.mixture.log_prob(images.scaled(x)) / (8 * np.log(2))
    np.testing.assert_allclose(scaled, bits - 4, rtol=0, atol=1e-12)


def test_modes_of_the_mixture_are_equally_far_apart():
    _, means, _ = synthetic.gaussian_mixture_distribution()
    distances = np.linalg.norm(means[:, None] - means, axis=2)
    np.testing.assert_allclose(distances + 6 * np.eye(4), 6)
