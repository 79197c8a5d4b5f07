import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from test_values import FD, FD_TEST, value

from bench.data.registry import DATASETS
from bench.data.scikit import digits_labels
from bench.metrics import train_digits_cnn
from bench.metrics.digits_cnn import SmallCNN
from bench.metrics.extractor_card import SHIPPED as WEIGHTS
from bench.metrics.extractor_cards import EXTRACTORS, default_extractor
from bench.metrics.extractors import CHUNK, Extractor, load_extractor
from bench.metrics.floor import real_floor


def to_levels(images):
    return np.clip(np.rint(images), 0, 16).astype(np.uint8)


def test_digits_extractor_names_98_percent_of_held_out_digits(digits):
    named = load_extractor("digits-cnn")(digits.test).log_probs.argmax(1)
    assert (named == digits_labels("test")).mean() >= 0.98


def test_labels_go_with_the_images_of_their_split(digits):
    from sklearn.datasets import load_digits

    whole = load_digits()
    images = {
        image.astype(np.uint8).tobytes(): label
        for image, label in zip(whole.images, whole.target, strict=True)
    }
    for split in ("train", "test"):
        found = [images[image.tobytes()] for image in digits.split(split)]
        assert digits_labels(split).tolist() == found


def test_training_reads_training_images_alone_and_repeats_itself(monkeypatch):
    from bench.data import scikit

    loaded = []
    card = DATASETS["digits"]
    monkeypatch.setattr(
        scikit,
        "_digits_index",
        lambda split, real=scikit._digits_index: loaded.append(split) or real(split),
    )
    assert card.load("train").shape == (1437, 1, 8, 8)
    states = [train_digits_cnn.train(seed=3, epochs=1).state_dict() for _ in range(2)]
    assert set(loaded) == {"train"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    train_digits_cnn.train(seed=3, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_training_images_have_unit_deviation_and_are_all_alive(digits):
    features, log_probs = load_extractor("digits-cnn")(digits.train)
    card = EXTRACTORS["digits-cnn"]
    assert features.shape == (1437, card.dimension)
    assert log_probs.shape == (1437, card.classes)
    np.testing.assert_allclose(features.std(0, ddof=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-12)
    # No direction is a copy of others, so the distance weighs 24 things and not fewer.
    assert np.linalg.eigvalsh(np.cov(features.T))[0] > 0.01


def test_features_do_not_depend_on_the_company_of_an_image(digits):
    many = np.concatenate([digits.train[:200], digits.train[:200], digits.train[:200]])
    assert len(many) > CHUNK
    extractor = load_extractor("digits-cnn")
    np.testing.assert_allclose(
        extractor(many).features[:3], extractor(digits.train[:3]).features, rtol=0, atol=1e-12
    )


def test_weights_are_small_and_those_of_the_card():
    assert (WEIGHTS / EXTRACTORS["digits-cnn"].weights[0]).stat().st_size < 120_000
    network = SmallCNN()
    assert sum(parameter.numel() for parameter in network.parameters()) < 25_000


def test_fashion_extractor_reads_14x14_pixels_and_is_chosen_for_them(rng):
    card = DATASETS["fashion_mnist14"]
    assert default_extractor(card) == "fashion14-cnn"
    levels = rng.integers(0, 256, (5, *card.shape)).astype(np.uint8)
    features, log_probs = load_extractor("fashion14-cnn")(levels)
    assert (features.shape, log_probs.shape) == ((5, 24), (5, 10))


def test_altered_truncated_or_missing_weights_are_named(tmp_path):
    content = (WEIGHTS / EXTRACTORS["digits-cnn"].weights[0]).read_bytes()
    path = tmp_path / "weights.safetensors"
    for broken in (content[:-1], content[:5000] + b"\x00\x01" + content[5002:], b""):
        path.write_bytes(broken)
        with pytest.raises(
            ValueError, match=r"weights\.safetensors: altered or truncated extractor weights"
        ):
            Extractor("digits-cnn", weights=path)
    with pytest.raises(
        FileNotFoundError, match=r"none\.safetensors: extractor weights are missing"
    ):
        Extractor("digits-cnn", weights=tmp_path / "none.safetensors")


def noisy(deviation):
    return lambda images, rng: to_levels(images + rng.normal(0, deviation, images.shape))


def blurred(deviation):
    return lambda images, rng: to_levels(
        gaussian_filter(images.astype(float), (0, 0, deviation, deviation))
    )


def collapsed(kept):
    return lambda images, rng: images[np.arange(len(images)) % kept]


@pytest.mark.parametrize("request_", [FD, FD_TEST], ids=["to train", "to test"])
@pytest.mark.parametrize(
    "ladder",
    [
        [noisy(1), noisy(2), noisy(4), noisy(8)],
        [blurred(0.5), blurred(0.7), blurred(1), blurred(2)],
        [collapsed(100), collapsed(20), collapsed(5), collapsed(1)],
    ],
    ids=["noise", "blur", "collapse"],
)
def test_frechet_distance_grows_with_every_kind_of_damage(digits, rng, ladder, request_):
    real = digits.test[:256]
    found = [
        value(images, request_, digits)
        for images in (real, *(damage(real, rng) for damage in ladder))
    ]
    assert found == sorted(found)
    assert found[-1] > 10 * found[0]


def test_noise_black_and_inverted_images_are_far_beyond_the_floor_of_real_ones(digits, rng):
    real = digits.test[:256]
    floor = real_floor(*FD, digits, 256)
    for images in (
        rng.integers(0, 17, real.shape).astype(np.uint8),
        np.zeros_like(real),
        16 - real,
    ):
        assert value(images, FD, digits) > floor.mean + 50 * floor.std
