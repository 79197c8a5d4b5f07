from dataclasses import replace

import numpy as np
import pytest

from bench.data.images import load_images
from bench.metrics.neighbours import near_copies, nearest, usual_ratio
from bench.metrics.parameters import CopyParams, NeighbourParams
from bench.metrics.references import References
from bench.metrics.scoring import score


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


@pytest.mark.parametrize("same", [False, True])
def test_nearest_are_those_of_all_differences(rng, same):
    real = rng.normal(size=(700, 5)).astype(np.float32)
    samples = real if same else rng.normal(size=(600, 5)).astype(np.float32)
    distances = np.linalg.norm(samples[:, None].astype(float) - real[None], axis=2)
    if same:
        np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(
        nearest(samples, real, 2, same=same), np.sort(distances, 1)[:, :2], rtol=1e-9
    )


def test_a_copy_is_at_distance_zero_exactly(rng):
    real = rng.normal(100, 1, (50, 300)).astype(np.float32)
    assert nearest(real[:5], real, 1).ravel().tolist() == [0.0] * 5


def test_new_images_have_the_ratio_of_one_and_copies_of_zero(digits):
    data = load_images("digits")
    held_out, new = digits.test[::2], digits.test[1::2]
    card = replace(
        data.card,
        splits={"train": 1437, "test": len(held_out)},
        load=lambda split: digits.train if split == "train" else np.ascontiguousarray(held_out),
    )
    from bench.data.images import Images

    halved = Images("digits", card)

    def ratio(images):
        return score([images], [("nn_ratio", NeighbourParams())], halved, references=References())[
            0
        ].value

    assert ratio(new) == pytest.approx(1, abs=0.05)
    assert ratio(digits.train[:180]) == 0
    mixed = np.concatenate([new[:90], digits.train[:90]])
    assert ratio(mixed) == pytest.approx(0.5, abs=0.1)


def test_memorised_images_are_counted_and_new_ones_are_not(digits, rng):
    spoilt = digits.train[:100].copy()
    spoilt[:, 0, 4, 4] = np.minimum(spoilt[:, 0, 4, 4] + 1, 16)
    assert value(spoilt, "near_copies", CopyParams(), digits) > 0.95
    assert value(digits.test, "near_copies", CopyParams(), digits) < 0.02
    half = np.concatenate([digits.train[:50], digits.test[:50]])
    assert value(half, "near_copies", CopyParams(), digits) == pytest.approx(0.5, abs=0.03)


def test_what_has_no_ratio_is_refused(digits):
    with pytest.raises(ValueError, match="every sample is a held-out image itself"):
        value(digits.test[:30], "nn_ratio", NeighbourParams(), digits)
    same = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match="the splits overlap"):
        usual_ratio(same, same)
    with pytest.raises(ValueError, match="2 nearest of 1 real images"):
        nearest(same, same[:1], 2)
    with pytest.raises(ValueError, match="NaN"):
        nearest(same * np.nan, same, 1)
    assert near_copies(np.array([[0.0, 1], [0.4, 1], [1, 1]]), 1 / 3) == pytest.approx(1 / 3)
